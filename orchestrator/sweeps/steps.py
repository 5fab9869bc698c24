"""The plan of a sweep: the steps of all its trials, where equal steps are one step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.artifacts import Store
from orchestrator.config.recipe import Recipe
from orchestrator.pipeline.graph import Step, fingerprints, steps_of
from orchestrator.pipeline.plan import Plan, PlannedStep, ancestors, drifts, expected_of, find_made, select


@dataclass(frozen=True)
class Line:
    """The steps of a recipe that lead to some of its steps.

    Attributes:
        steps: each step after its inputs.
        fingerprints: name of a step -> its fingerprint.
    """

    steps: tuple[Step, ...]
    fingerprints: Mapping[str, str]

    @classmethod
    def to(cls, recipe: Recipe, wanted: Iterable[str]) -> Line:
        """The line that ends in the steps `wanted`.

        Raises:
            MomeError: a source is missing.
        """
        steps = steps_of(recipe)
        needed = ancestors(steps, set(wanted))
        steps = tuple(step for step in steps if step.name in needed)
        return cls(steps, fingerprints(steps))


@dataclass
class Steps:
    """Collects the steps of a sweep, each step once. Trials that results ask for add steps while the sweep runs.

    Attributes:
        store: the store of the sweep.
        base: the recipe that trials change.
        force: names of steps that are made again; "trials" stands for the trainings of all trials.
        strict: see :func:`orchestrator.pipeline.plan.make_plan`.
        adopt: see :func:`orchestrator.pipeline.plan.make_plan`.
        planned: name of a step -> the planned step, each step after its inputs.
    """

    store: Store
    base: Recipe
    force: Sequence[str] = ()
    strict: bool = False
    adopt: bool = True
    planned: dict[str, PlannedStep] = field(default_factory=dict)
    _names: dict[tuple[str, str], str] = field(default_factory=dict)  # place and fingerprint -> name
    _taken: set[str] = field(default_factory=set)

    @property
    def plan(self) -> Plan:
        """The plan of all steps that were added."""
        return Plan(self.store, tuple(self.planned.values()), expected_of(self.base))

    def add(self, line: Line, recipe: Recipe, named: Mapping[str, str]) -> dict[str, str]:
        """Add the steps of a line that the plan lacks. Returns name in the line -> name in the plan.

        Args:
            line: steps of the recipe.
            recipe: the recipe of a trial; the costs of its steps rest on the recipe.
            named: name in the line -> name in the plan, of the steps that the trial trains. None of them runs alone.

        Raises:
            ArtifactError: an artifact is damaged.
        """
        names: dict[str, str] = {}
        for step in line.steps:
            key = (step.place, line.fingerprints[step.name])
            if key not in self._names:
                inputs = {role: names[name] for role, name in step.inputs.items()}
                name = self._names[key] = self._free(named.get(step.name, step.name))
                alone = step.alone and step.name not in named
                here = replace(step, name=name, inputs=inputs, alone=alone, kind=step.place, origin=step.name)
                self._plan(here, key[1], recipe)
            names[step.name] = self._names[key]
        return names

    def want(self, names: Iterable[str]) -> None:
        """Mark steps of the plan as wanted: they are made unless they are cached."""
        self.planned |= {name: replace(self.planned[name], wanted=True) for name in names}

    def take(self) -> list[PlannedStep]:
        """The wanted steps that no earlier call has returned."""
        found = [planned for planned in self.planned.values() if planned.wanted and planned.name not in self._taken]
        self._taken |= {planned.name for planned in found}
        return found

    def is_forced(self, names: Iterable[str]) -> bool:
        """Whether one of these steps is made again although it is cached."""
        return any(self.planned[name].forced for name in names)

    def check_force(self) -> None:
        """Make sure that every name of `force` is the name of a step.

        Raises:
            RecipeError: a name is not.
        """
        select([planned.step for planned in self.planned.values()], self.force)

    def _plan(self, step: Step, fingerprint: str, recipe: Recipe) -> None:
        forced = self._is_named(step.name) or self.is_forced(step.inputs.values())
        artifact = None if forced else find_made(self.store, step.place, fingerprint, self.adopt)
        if artifact and self.strict and any(d.reaches for d in drifts(self.store, {step.name: artifact}).values()):
            forced, artifact = True, None
        expected = expected_of(recipe)
        own = None if expected == expected_of(self.base) else expected
        self.planned[step.name] = PlannedStep(step, fingerprint, artifact, False, forced, own)

    def _is_named(self, name: str) -> bool:
        return any(name == each or name.startswith(f"{each.removesuffix('s')}-") for each in self.force)

    def _free(self, name: str) -> str:
        number, found = 1, name
        while found in self.planned:
            number += 1
            found = f"{name}@{number}"
        return found
