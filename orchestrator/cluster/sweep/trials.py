"""The trials of a sweep: what each trains, what that rests on, and what came of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from orchestrator.artifacts import Artifact, Store, digest
from orchestrator.config.recipe import Recipe
from orchestrator.config.sweep import (
    Configuration,
    Search,
    Sweep,
    base_recipe,
    configuration_name,
    configurations,
    draw,
    trial_recipe,
)
from orchestrator.errors import RecipeError
from orchestrator.pipeline.graph import fingerprints, steps_of
from orchestrator.pipeline.plan import ancestors
from orchestrator.reporting.comparison import FINISHED, Trial
from orchestrator.reporting.results import is_number

STOPPED = "stopped"
FAILED = "failed"


@dataclass(frozen=True)
class PlannedTrial:
    """One configuration with one seed.

    Attributes:
        name: "trial-01". configuration, seed, recipe: what it is. store: where it publishes.
        trained, upstream: the steps that it trains, and those they rest on, each with its fingerprint.
    """

    name: str
    configuration: Configuration
    seed: int
    recipe: Recipe
    store: Store
    trained: Mapping[str, str]
    upstream: Mapping[str, str]

    @property
    def key(self) -> str:
        """Identity of what it trains, whatever its name."""
        return digest(self.trained)

    def event_name(self, step: str) -> str:
        """What observers know one of its trainings by: "trial-01-en"."""
        return f"{self.name}-{step.removeprefix('expert-')}"

    def artifacts(self) -> list[Artifact] | None:
        """What it trained; None while that is not all there."""
        found = [self.store.find(*step) or self.store.elsewhere(*step) for step in self.trained.items()]
        whole = [artifact for artifact in found if artifact]
        return whole if len(whole) == len(found) else None

    def facts(self) -> list[dict[str, Any]]:
        """`training.json` of each of its trainings; none while it is not finished."""
        return [read_facts(artifact.folder) for artifact in self.artifacts() or ()]


@dataclass
class Planner:
    """Makes trials out of configurations; `file` is where the sweep was read from."""

    sweep: Sweep
    file: Path
    store: Store
    _count: int = field(default=0, init=False)

    def plan(self, configuration: Configuration, seed: int) -> PlannedTrial:
        """The trial of a configuration and a seed.

        Raises:
            MomeError: not a valid recipe; a source is missing; early stopping would begin after the end.
        """
        recipe = trial_recipe(self.sweep, self.file, configuration, seed)
        self._check_grace(recipe)
        steps = steps_of(recipe)
        known, trained = fingerprints(steps), self.sweep.trained(recipe)
        inputs = {name for step in steps if step.name in trained for name in step.inputs.values()}
        upstream = ancestors(steps, inputs)
        self._count += 1
        return PlannedTrial(
            f"trial-{self._count:02d}",
            configuration,
            seed,
            recipe,
            self.store,
            trained={name: known[name] for name in trained},
            upstream={step.name: known[step.name] for step in steps if step.name in upstream},
        )

    def identity(self) -> dict[str, Any]:
        """What all trials share: suggestions of other sweeps are none of ours."""
        recipe = base_recipe(self.sweep, self.file)
        shared = recipe.model_dump(mode="json", exclude={"name", "description", "resources", "tracking"})
        return {"train": self.sweep.train, "metric": self.sweep.metric, "recipe": shared}

    def known(self) -> list[PlannedTrial]:
        """The trials known before anything runs, every configuration of one seed before the next.

        Raises:
            RecipeError: two configurations train the same. MomeError: see `plan`.
        """
        found = [self.plan(c, seed) for seed, c in itertools.product(self.sweep.seeds, configurations(self.sweep))]
        first: dict[str, Configuration] = {}
        for trial in found[: len(found) // len(self.sweep.seeds)]:
            same = first.setdefault(trial.key, trial.configuration)
            if same is not trial.configuration:
                raise self._same(same, trial.configuration)
        return found

    def probes(self, search: Search) -> list[PlannedTrial]:
        """Trials, not to be run: all fields at their lowest, and one at a time at its other choices or its highest.

        Together they rest on all that trials of the search can rest on.

        Raises:
            RecipeError: a field changes nothing; or with Optuna, which suggests while trials run, it changes a step
                that trials rest on. MomeError: see `plan`.
        """
        planner = Planner(self.sweep, self.file, self.store)
        low = {name: draw(values, 0.0) for name, values in search.space.items()}

        def probe(changes: dict[str, Any]) -> PlannedTrial:
            return planner.plan(Configuration(configuration_name(changes), changes), self.sweep.seeds[0])

        found = [probe(low)]
        for name, values in search.space.items():
            for value in values.choices[1:] or (draw(values, 1 - 1e-9),):
                other = probe({**low, name: value})
                found.append(other)
                if other.key == found[0].key:
                    raise self._same(found[0].configuration, other.configuration)
                changed = [s for s, made in other.upstream.items() if found[0].upstream.get(s, made) != made]
                if search.type == "optuna" and changed:
                    what = f"{name} changes {', '.join(changed)}, which trials rest on"
                    fix = "use type: random, which makes what trials rest on beforehand"
                    raise RecipeError(what, f"{self.file}: search.space", fix)
        return found

    def _same(self, one: Configuration, other: Configuration) -> RecipeError:
        fields = [f for f in {**one.changes, **other.changes} if one.changes.get(f) != other.changes.get(f)]
        what = f"{one.name!r} and {other.name!r} train the same"
        if fields:
            what += f": {', '.join(fields)} changes nothing in the training of {self.sweep.train}"
        return RecipeError(what, str(self.file), "sweep over fields that change what is trained, each value once")

    def _check_grace(self, recipe: Recipe) -> None:
        training, asha = getattr(recipe, self.sweep.train).training, self.sweep.asha
        if asha and training.tokens and asha.grace_steps >= training.tokens / training.batch_tokens:
            steps = f"{training.tokens} tokens in batches of {training.batch_tokens}"
            raise RecipeError(
                f"early stopping begins after {asha.grace_steps} steps, and a trial has no more: {steps}",
                f"{self.file}: asha.grace_steps",
                "lower it, or train on more tokens",
            )


def report_row(trial: PlannedTrial, metric: str, failure: str, stopped: Mapping[str, Any] | None) -> Trial:
    """A trial as the report wants it: means over its languages."""
    row = Trial(
        config=trial.configuration.changes,
        name=trial.configuration.name,
        seed=trial.seed,
        curve=(),
        final_loss=None,
        status=FAILED,
        error=failure,
    )
    artifacts = trial.artifacts()
    if not failure and artifacts:
        facts, rows = trial.facts(), [_rows(artifact.folder / "metrics.jsonl") for artifact in artifacts]
        row["status"], row["final_loss"] = FINISHED, fmean(each[metric] for each in facts)
        row["curve"] = [(step, loss) for step, (loss,) in _means(rows, ("validation_loss",))]
        row["weights"] = [(step, alpha, beta) for step, (alpha, beta) in _means(rows, ("alpha", "beta"))]
        row["tokens"] = sum(each["tokens"] for each in facts)
        row["seconds"] = sum(each["seconds"] for each in facts)
        row["tokens_per_second"] = fmean(each["tokens_per_second"] for each in facts)
    elif not failure and stopped:
        row["status"], row["error"] = STOPPED, f"stopped early by ASHA at step {stopped['step']}"
        row["curve"] = [(step, loss) for step, loss in stopped["curve"]]
    return row


def validation_curve(metrics: Path) -> list[tuple[int, float]]:
    """(optimizer step, validation loss) of a training, from its metrics file."""
    return [(step, loss) for step, (loss,) in _means([_rows(metrics)], ("validation_loss",))]


def read_facts(folder: Path) -> dict[str, Any]:
    """`training.json` of a trained model."""
    facts: dict[str, Any] = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return facts


def _rows(metrics: Path) -> list[dict[str, Any]]:
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _means(trainings: Sequence[Iterable[Mapping[str, Any]]], keys: Sequence[str]) -> list[tuple[int, list[float]]]:
    """Means over trainings, at the steps that all of them logged with a number for each key."""
    found = [{int(row["step"]): row for row in rows if all(is_number(row.get(k)) for k in keys)} for rows in trainings]
    steps = sorted(set.intersection(*map(set, found)))
    return [(step, [fmean(rows[step][key] for rows in found) for key in keys]) for step in steps]
