"""`mome sweep`: experts over recipe fields and seeds, from one corpus and teacher, compared in a report."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from orchestrator.artifacts import Artifact, Store, locked
from orchestrator.config.loading import load_model
from orchestrator.config.recipe import Recipe
from orchestrator.config.sweep import Sweep, base_recipe, combinations
from orchestrator.errors import StageFailedError
from orchestrator.pipeline.plan import Plan, PlannedStep, make_plan, run_folder
from orchestrator.reporting.sweep import FINISHED, Trial, write_sweep_report
from orchestrator.tracking import Observer, RunFacts, mlflow_tracker

_say = partial(print, flush=True)


def run_sweep(file: Path, overrides: Sequence[str], runs: Path) -> Path:
    """Run the trials that are not done yet and write the sweep's report. Returns the report's folder.

    Raises:
        StageFailedError: trials failed; the others are finished and in the report.
        MomeError: the sweep or its recipe is not valid, or what the trials share can't be made.
    """
    sweep = load_model(Sweep, file, overrides)
    recipe = base_recipe(sweep, file)
    store = Store(run_folder(runs.absolute(), recipe))
    out = store.root / "report"
    with locked(store.root), ExitStack() as stack:
        store.clean()
        shared = make_plan(recipe, store, until=("teacher",), adopt=True)
        trials = _trials(sweep, file, store)
        ready: list[Path] = []  # filled when the report is there for trackers to take
        failures = _run_missing(sweep, recipe, shared, trials, stack, ready)
        finished = _trials(sweep, file, store)
        rows = [_row(sweep, trial, failures.get(trial.experts[0].fingerprint, "")) for trial in finished]
        verdicts = write_sweep_report(rows, out, sweep.name, description=sweep.description)
        store.set_current(sweep.name, _artifacts(finished))
        ready.append(out)
    _say(verdicts)
    _say(f"report: {out / 'index.html'}")
    failed = sum(row["status"] != FINISHED for row in rows)
    if failed:
        reasons = sorted(set(failures.values())) or ["a trial ended without saying why"]
        raise StageFailedError(
            f"{failed} of {len(trials)} trials failed:\n" + "\n".join(reasons),
            str(file),
            "the others are finished and in the report; mend the recipe and type the same command",
        )
    return out


def _artifacts(trials: Sequence[_PlannedTrial]) -> dict[str, Artifact]:
    """What the sweep has made and used, by name, for `mome show`."""
    found = {
        p.name: p.artifact for t in trials for p in t.plan.steps if p.artifact and not p.name.startswith("expert-")
    }
    for trial in trials:
        found |= {f"{trial.name}-{_language(e)}": e.artifact for e in trial.experts if e.artifact}
    return {name: artifact for name, artifact in found.items() if artifact}


@dataclass(frozen=True)
class _PlannedTrial:
    """One recipe of the sweep: the shared one with these grid values and this seed."""

    name: str
    config: Mapping[str, Any]
    seed: int
    recipe: Recipe
    plan: Plan

    @property
    def experts(self) -> list[PlannedStep]:
        """Its trainings. Trials whose experts have equal fingerprints are one."""
        return [planned for planned in self.plan.steps if planned.wanted and planned.name.startswith("expert-")]

    @property
    def label(self) -> str:
        """What sets it apart, for people."""
        values = {
            key.rpartition(".")[2]: value if isinstance(value, str) else json.dumps(value)
            for key, value in self.config.items()
        }
        return ", ".join(f"{key} {value}" for key, value in {**values, "seed": self.seed}.items())


def _trials(sweep: Sweep, file: Path, store: Store) -> list[_PlannedTrial]:
    return [
        _PlannedTrial(
            f"trial-{index:02d}", config.changes, seed, recipe, make_plan(recipe, store, until=sweep.trained(recipe))
        )
        for index, (config, seed, recipe) in enumerate(combinations(sweep, file), 1)
    ]


def _run_missing(
    sweep: Sweep, recipe: Recipe, shared: Plan, trials: Sequence[_PlannedTrial], stack: ExitStack, ready: Sequence[Path]
) -> dict[str, str]:
    """Run what is missing. Returns why trials failed, by the fingerprint of their first expert.

    Trackers stay open until `stack` is closed, and take the report if it is `ready` then.
    """
    missing = {t.experts[0].fingerprint: t for t in reversed(trials) if any(e.artifact is None for e in t.experts)}
    ordered = list(reversed(missing.values()))
    if not ordered:
        _say(f"nothing to do: all {len(trials)} trials of {sweep.name} are done")
        return {}
    from orchestrator.cluster.runner import RayRunner
    from orchestrator.cluster.session import session
    from orchestrator.cluster.tuning import Trials, run_trials
    from orchestrator.pipeline.execute import execute

    for trial in ordered:
        _say(f"{trial.name}: {trial.label}, seed {trial.seed}")
    observers = _observers(sweep, recipe, shared.store, ordered)
    for observer in observers:
        stack.callback(_close, observer, ready)
    with session(recipe.resources):
        runner = RayRunner(recipe.resources)
        execute(shared, runner, observers)
        todo = Trials({t.name: t.recipe for t in ordered}, sweep.trained(recipe), shared.store, runner.allocation)
        failures = run_trials(todo, recipe.resources.max_failures, observers)
    return {trial.experts[0].fingerprint: failures[trial.name] for trial in ordered if trial.name in failures}


def _close(observer: Observer, ready: Sequence[Path]) -> None:
    observer.close(ready[0] if ready else None)


def _observers(sweep: Sweep, recipe: Recipe, store: Store, trials: Sequence[_PlannedTrial]) -> list[Observer]:
    lines = _Lines()
    if recipe.tracking.type == "none":
        return [lines]
    facts = RunFacts(
        name=sweep.name,
        folder=store.root,
        experiment=recipe.tracking.experiment,
        parameters=sweep.model_dump(mode="json"),
        fingerprints={f"{t.name}-{_language(e)}": e.fingerprint for t in trials for e in t.experts},
        configs={f"{t.name}-{_language(e)}": {**t.config, "seed": t.seed} for t in trials for e in t.experts},
    )
    tracker = mlflow_tracker(facts)
    return [lines, tracker] if tracker else [lines]


def _language(expert: PlannedStep) -> str:
    return expert.name.removeprefix("expert-")


def _row(sweep: Sweep, trial: _PlannedTrial, failure: str) -> Trial:
    """A trial as the report wants it: means over its languages."""
    folders = [expert.artifact.folder for expert in trial.experts if expert.artifact]
    if failure or len(folders) < len(trial.experts):
        return Trial(config=trial.config, seed=trial.seed, curve=(), final_loss=None, status="failed", error=failure)
    training = [json.loads((folder / "training.json").read_text(encoding="utf-8")) for folder in folders]
    curves = [_curve(folder / "metrics.jsonl") for folder in folders]
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    return Trial(
        config=trial.config,
        seed=trial.seed,
        curve=[(step, fmean(curve[step] for curve in curves)) for step in steps],
        final_loss=fmean(facts[sweep.metric] for facts in training),
        status=FINISHED,
        error="",
    )


def _curve(metrics: Path) -> dict[int, float]:
    """Optimizer step -> validation loss."""
    rows = map(json.loads, metrics.read_text(encoding="utf-8").splitlines())
    return {int(row["step"]): float(row["validation_loss"]) for row in rows if "validation_loss" in row}


@dataclass
class _Lines:
    """An observer that prints a line for each beginning and end."""

    begun: dict[str, float] = field(default_factory=dict)

    def started(self, step: str) -> None:
        """Say so."""
        self.begun[step] = time.monotonic()
        _say(f"{step}: started")

    def metrics(self, step: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Print evaluations."""
        for row in rows:
            if "validation_loss" in row:
                _say(f"{step}: step {row['step']}, validation loss {row['validation_loss']:.4f}")

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:  # noqa: ARG002 (an Observer's)
        """Say how long it took."""
        _say(f"{step}: done in {time.monotonic() - self.begun[step]:.0f} s")

    def failed(self, step: str, error: Exception) -> None:
        """Say why."""
        _say(f"{step}: failed: {error}")

    def close(self, report: Path | None) -> None:
        """Nothing is left open."""
