"""What a run will do before it does it: which steps are cached, what the others cost, how long they should take."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.artifacts import Artifact, Store
from orchestrator.available import memory_bytes
from orchestrator.config.recipe import Recipe
from orchestrator.errors import RecipeError
from orchestrator.pipeline.graph import Step, code_of, fingerprints, steps_of
from orchestrator.plugins import suggest
from orchestrator.provenance import Drift, drift, provenance
from orchestrator.stages.base import Cost, Expected, Stage


@dataclass(frozen=True)
class PlannedStep:
    """A step of a plan.

    Attributes:
        step, fingerprint: which.
        artifact: its result where it is cached.
        wanted: the plan is to have it made.
        forced: it is made again from nothing.
        expected: of its cost, where that is not as the whole plan has it.
    """

    step: Step
    fingerprint: str
    artifact: Artifact | None
    wanted: bool = True
    forced: bool = False
    expected: Expected | None = None

    @property
    def name(self) -> str:
        """The step's name."""
        return self.step.name

    @property
    def place(self) -> str:
        """Where the store keeps its artifacts."""
        return self.step.place

    def folder(self, store: Store) -> Path:
        """Where its artifact is, or will be."""
        return self.artifact.folder if self.artifact else store.folder(self.place, self.fingerprint)

    @cached_property
    def made_with(self) -> dict[str, Any]:
        """The code and the libraries that it is made with now (:func:`orchestrator.provenance.provenance`).

        Ask for it while no step is at work: Python 3.11 raises SystemError where two threads parse modules.
        """
        return provenance(code_of(self.step.stage))

    def manifest(self, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
        """What the manifest of its artifact says of where that comes from: it is made now, of these inputs."""
        return {
            "step": self.step.origin or self.name,
            "stage": type(self.step.stage).__name__,
            "config": self.step.stage.model_dump(mode="json"),
            "inputs": {role: artifact.fingerprint for role, artifact in inputs.items()},
            **self.made_with,
            "machine": {"platform": platform.platform(), "cpus": os.cpu_count()},
        }


@dataclass(frozen=True)
class Plan:
    """The steps of a run in order, each with what is known of it."""

    store: Store
    steps: tuple[PlannedStep, ...]
    expected: Expected

    @property
    def missing(self) -> tuple[PlannedStep, ...]:
        """The steps that have to run."""
        return tuple(planned for planned in self.steps if planned.wanted and planned.artifact is None)

    def drifts(self) -> dict[str, Drift]:
        """Cached steps made with other code or libraries than are installed, and not accepted; by name."""
        return drifts(self.store, {p.name: p.artifact for p in self.steps if p.wanted and p.artifact})

    def accept(self) -> list[str]:
        """Record that cached steps are as good as if they were made now; which. For the holder of the lock."""
        by_name = {planned.name: planned for planned in self.steps}
        found = [by_name[name] for name in self.drifts()]
        self.store.accept({p.fingerprint: provenance(code_of(p.step.stage)) for p in found})
        return [planned.name for planned in found]

    def cost(self, planned: PlannedStep) -> Cost:
        """Expected cost of a step. Builds models on the meta device: seconds for large ones.

        Raises:
            MomeError: the configuration can't work (a model that does not fit its context, say).
        """
        folders = {p.name: p.artifact.folder if p.artifact else None for p in self.steps}
        expected = replace(planned.expected or self.expected, blocks=self.expected.blocks)
        return planned.step.stage.cost({role: folders[name] for role, name in planned.step.inputs.items()}, expected)


def make_plan(
    recipe: Recipe,
    store: Store,
    until: Sequence[str] = (),
    force: Sequence[str] = (),
    *,
    strict: bool = False,
    adopt: bool = False,
) -> Plan:
    """The plan of a recipe in a store.

    Args:
        recipe: the experiment.
        store: of its run.
        until: stop after these steps ("experts" stands for every expert); empty: all steps.
        force: run these again, and everything that depends on them. The run removes what they have made, not this.
        strict: run steps again, and what depends on them, whose code or libraries have changed since.
        adopt: link what other runs beside this one have made into the store; False: refer to it where it is.

    Raises:
        RecipeError: a step of that name does not exist. MomeError: a source is missing; an artifact is damaged.
    """
    steps = steps_of(recipe)
    wanted = ancestors(steps, select(steps, until)) if until else {step.name for step in steps}
    known = fingerprints(steps)
    forced = descendants(steps, select(steps, force))  # whatever is there of these may be damaged
    made = {s.name: None if s.name in forced else find_made(store, s.place, known[s.name], adopt) for s in steps}
    if strict:
        forced |= descendants(steps, _changed(store, {name: made[name] for name in wanted}))

    def planned(step: Step) -> PlannedStep:
        name, fingerprint = step.name, known[step.name]
        artifact = None if name in forced else made[name]
        return PlannedStep(step, fingerprint, artifact, name in wanted, name in forced)

    return Plan(store, tuple(map(planned, steps)), expected_of(recipe))


def plan_around(
    given: Mapping[str, Artifact], steps: Sequence[Step], recipe: Recipe, store: Store, *, adopt: bool = False
) -> Plan:
    """The plan of steps that rest on given artifacts, which are not made again whatever code and recipe they are of.

    Args:
        given: by the names that inputs of `steps` have.
        steps: to be done; no name is that of a given one.
        recipe: says what to expect of costs.
        store, adopt: see :func:`make_plan`.

    Raises:
        MomeError: a source is missing; an artifact is damaged.
    """
    known = fingerprints(steps, {name: artifact.fingerprint for name, artifact in given.items()})
    there = [PlannedStep(Step(name, Given()), known[name], artifact) for name, artifact in given.items()]
    made = [PlannedStep(s, known[s.name], find_made(store, s.place, known[s.name], adopt)) for s in steps]
    return Plan(store, (*there, *made), expected_of(recipe))


def drifts(store: Store, artifacts: Mapping[str, Artifact]) -> dict[str, Drift]:
    """Artifacts made with other code or libraries than are installed, and not accepted in this store; by name."""
    accepted = store.accepted()
    found = {
        name: drift(artifact.manifest, accepted.get(artifact.fingerprint, ())) for name, artifact in artifacts.items()
    }
    return {name: each for name, each in found.items() if each.package or each.reaches}


def _changed(store: Store, artifacts: Mapping[str, Artifact | None]) -> set[str]:
    """Steps whose artifacts could come out otherwise now."""
    there = {name: artifact for name, artifact in artifacts.items() if artifact is not None}
    return {name for name, each in drifts(store, there).items() if each.reaches}


class Given(Stage):
    """Stands in a plan for an artifact that is there; it never runs."""


def find_made(store: Store, name: str, fingerprint: str, adopt: bool) -> Artifact | None:
    """A step's artifact, of this run or of another one beside it."""
    artifact = store.find(name, fingerprint)
    if artifact is None and (made := store.elsewhere(name, fingerprint)):
        artifact = store.adopt(name, made) if adopt else made
    return artifact


def expected_of(recipe: Recipe) -> Expected:
    """What costs of a recipe's steps rest on.

    Raises:
        ModelError: the teacher has no tokenizer to take. TokenizerError: it can't be used.
        ResourceError: the hub can't be reached.
    """
    size, tokenizer = recipe.tokenizer.vocab_size, Path(recipe.tokenizer.path) if recipe.tokenizer.path else None
    if recipe.tokenizer.of_teacher:
        from orchestrator.models.vocabulary import own_vocabulary  # imports torch

        tokenizer, size = own_vocabulary(recipe.teacher.model)
    theirs: tuple[Path, int] | tuple[None, None] = None, None
    if recipe.experts.distillation.alignment is not None:
        from orchestrator.models.vocabulary import own_vocabulary

        theirs = own_vocabulary(recipe.teacher.model)
    return Expected(
        vocab_size=size,
        context=recipe.blocks.context,
        languages=len(recipe.corpus.languages),
        tokens_per_language=recipe.blocks.balance.tokens_per_language,
        teacher=recipe.teacher.model,
        expert=recipe.experts.model,
        tokenizer=tokenizer,
        cuts_vocabulary=recipe.experts.vocabulary is not None,
        teacher_tokenizer=theirs[0],
        teacher_vocab_size=theirs[1],
        teacher_weights=recipe.resources.teacher_weights,
        device=recipe.resources.device,
        memory=None if os.environ.get("RAY_ADDRESS") else memory_bytes(),
    )


def select(steps: Iterable[Step], names: Iterable[str]) -> set[str]:
    """Names of the steps meant by `names`, where "experts" or "expert" stands for whatever makes the experts.

    Raises:
        RecipeError: no step of that name.
    """
    known = [step.name for step in steps]
    chosen: set[str] = set()
    for name in names:
        kind = name.removesuffix("s")
        found = [k for k in known if k == name or k.startswith(f"{kind}-")]
        if kind == "expert":  # a setup may train its experts together
            found += [k for k in known if re.match("joint($|[-@])", k)]
        if not found:
            together = "the experts of this recipe are trained together: joint"
            hint = together if name.startswith("expert") and "joint" in known else suggest(name, known)
            raise RecipeError(f"there is no stage {name!r}", "command line", hint)
        chosen.update(found)
    return chosen


def ancestors(steps: Sequence[Step], names: set[str]) -> set[str]:
    """The steps named, and all they depend on."""
    wanted = set(names)
    for step in reversed(steps):
        if step.name in wanted:
            wanted.update(step.inputs.values())
    return wanted


def descendants(steps: Sequence[Step], names: set[str]) -> set[str]:
    """The steps named, and all that depends on them."""
    wanted = set(names)
    for step in steps:
        if wanted.intersection(step.inputs.values()):
            wanted.add(step.name)
    return wanted


def run_folder(runs: Path, recipe: Recipe) -> Path:
    """Where a recipe's run lives."""
    return runs / recipe.name
