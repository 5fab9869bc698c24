"""The trials of a sweep: which steps each trial trains, and the row of a trial in the report."""

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
    Sweep,
    base_recipe,
    configuration_name,
    configurations,
    draw,
    trial_recipe,
)
from orchestrator.errors import RecipeError
from orchestrator.reporting.comparison import FINISHED, Trial
from orchestrator.reporting.results import is_number
from orchestrator.sweeps.steps import Line, Steps

STOPPED = "stopped"
FAILED = "failed"


@dataclass(frozen=True)
class PlannedTrial:
    """One configuration with one seed.

    Attributes:
        name: "trial-01".
        configuration: the configuration.
        seed: the seed.
        recipe: the base recipe with the changes of the configuration and the seed.
        store: the store of the sweep.
        trained: name in the recipe -> fingerprint, of the steps that the trial trains.
        names: name in the recipe -> name in the plan, of all steps that the trial needs.
    """

    name: str
    configuration: Configuration
    seed: int
    recipe: Recipe
    store: Store
    trained: Mapping[str, str]
    names: Mapping[str, str]

    @property
    def key(self) -> str:
        """The identity of the trial's trainings; trials of other sweeps that train the same have the same key."""
        return digest(self.trained)

    @property
    def trainings(self) -> tuple[str, ...]:
        """Names in the plan of the steps that the trial trains: "trial-01-en"."""
        return tuple(self.names[step] for step in self.trained)

    @property
    def upstream(self) -> frozenset[str]:
        """Names in the plan of the steps that the trainings rest on."""
        return frozenset(self.names.values()) - set(self.trainings)

    def artifacts(self) -> list[Artifact] | None:
        """The artifacts of all trainings; None while one is missing."""
        found = [self.store.find(*step) or self.store.elsewhere(*step) for step in self.trained.items()]
        whole = [artifact for artifact in found if artifact]
        return whole if len(whole) == len(found) else None

    def facts(self) -> list[dict[str, Any]]:
        """`training.json` of each training; empty while one is missing."""
        return [read_facts(artifact.folder) for artifact in self.artifacts() or ()]


@dataclass
class Planner:
    """Makes trials out of configurations, and adds their steps to the plan of the sweep.

    Attributes:
        sweep: the sweep.
        file: the file that the sweep was read from.
        steps: the plan of the sweep.
        stopped: keys of trials that an earlier command stopped early; their steps are not wanted.
    """

    sweep: Sweep
    file: Path
    steps: Steps
    stopped: Mapping[str, Any] = field(default_factory=dict)
    _count: int = field(default=0, init=False)

    def plan(self, configuration: Configuration, seed: int) -> PlannedTrial:
        """The trial of a configuration and a seed; the call adds its steps to the plan.

        Raises:
            MomeError: not a valid recipe; a source is missing; early stopping would begin after the end.
        """
        recipe, line, trained = self._line(configuration, seed)
        self._count += 1
        name = f"trial-{self._count:02d}"
        named = {step: f"{name}-{step.removeprefix('expert-')}" for step in trained}
        names = self.steps.add(line, recipe, named)
        trial = PlannedTrial(name, configuration, seed, recipe, self.steps.store, trained, names)
        if trial.key not in self.stopped or self.steps.is_forced(trial.trainings):
            self.steps.want(names.values())
        return trial

    def identity(self) -> dict[str, Any]:
        """The parts of the sweep that all trials share; suggestions are kept for a sweep of these parts."""
        recipe = base_recipe(self.sweep, self.file)
        shared = recipe.model_dump(mode="json", exclude={"name", "description", "resources", "tracking"})
        return {"train": self.sweep.train, "metric": self.sweep.metric, "recipe": shared}

    def known(self) -> list[PlannedTrial]:
        """The trials known before anything runs, every configuration of one seed before the next.

        Raises:
            RecipeError: two configurations train the same. MomeError: see :meth:`plan`.
        """
        found = [self.plan(c, seed) for seed, c in itertools.product(self.sweep.seeds, configurations(self.sweep))]
        first = found[: len(found) // len(self.sweep.seeds)]
        self._check_different([(trial.configuration, trial.key) for trial in first])
        return found

    def check_search(self) -> None:
        """Make sure that every field of the search changes what is trained.

        Raises:
            RecipeError: one changes nothing.
        """
        if search := self.sweep.search:
            low = {name: draw(values, 0.0) for name, values in search.space.items()}
            for name, values in search.space.items():
                others = values.choices[1:] or (draw(values, 1 - 1e-9),)
                points = [low, *({**low, name: value} for value in others)]
                probes = [Configuration(configuration_name(point), point) for point in points]
                self._check_different([(p, digest(self._line(p, self.sweep.seeds[0])[2])) for p in probes])

    def _line(self, configuration: Configuration, seed: int) -> tuple[Recipe, Line, dict[str, str]]:
        """The recipe of a trial, the steps that lead to its trainings, and the fingerprints of the trainings."""
        recipe = trial_recipe(self.sweep, self.file, configuration, seed)
        self._check_grace(recipe)
        trained = self.sweep.trained(recipe)
        line = Line.to(recipe, trained)
        return recipe, line, {step: line.fingerprints[step] for step in trained}

    def _check_different(self, found: Sequence[tuple[Configuration, str]]) -> None:
        """Refuse configurations that have the same key."""
        first: dict[str, Configuration] = {}
        for other, key in found:
            one = first.setdefault(key, other)
            if one is other:
                continue
            fields = [f for f in {**one.changes, **other.changes} if one.changes.get(f) != other.changes.get(f)]
            what = f"{one.name!r} and {other.name!r} train the same"
            if fields:
                what += f": {', '.join(fields)} changes nothing in the training of {self.sweep.train}"
            raise RecipeError(what, str(self.file), "sweep over fields that change what is trained, each value once")

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
