"""How fast one kind of training runs: what a kind is, and the pace of one that has run."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.artifacts import MANIFEST
from orchestrator.machine import processor
from orchestrator.stages.base import Stage

WARM_UP = 2
"""First steps that are not counted: they allocate memory and choose kernels."""
MOST_RECORDS = 200
"""Trainings of earlier runs to look at, the newest first."""
LANGUAGES = ("languages", "learn", "validated")
"""Options that are lists of languages."""
_LENGTH = ("seed", "language", "tokens", "epochs", "eval_every", "eval_blocks", "checkpoint_every")
_OPTIMIZATION = ("lr", "betas", "weight_decay", "momentum", "warmup", "decay", "final_lr", "clip", "publish")
_FREE = frozenset(_LENGTH + _OPTIMIZATION)
"""Options that change nothing about the time of a step."""


@dataclass(frozen=True)
class Pace:
    """How fast one kind of training runs.

    Attributes:
        step: seconds of an optimizer step. token: seconds of validating on one. languages: validated.
        around: seconds before and after the loop: models built, teacher loaded, weights saved.
    """

    step: float
    token: float
    languages: int
    around: float

    def faster(self, share: float) -> Pace:
        """The same in a share of the time."""
        return replace(self, step=share * self.step, token=share * self.token, around=share * self.around)


def kind_of(stage: str, config: Mapping[str, Any]) -> str:
    """What a training's speed depends on, beside its model's size: the stage's name, and its options that matter."""
    return json.dumps([stage, _essence(dict(config))], sort_keys=True)


def kind_of_stage(stage: Stage) -> str:
    """See :func:`kind_of`."""
    return kind_of(type(stage).__name__, stage.model_dump(mode="json"))


def _essence(value: Any, key: str = "") -> Any:
    """A stage's options less those that don't matter; languages as their number."""
    if isinstance(value, dict):
        return {name: _essence(item, name) for name, item in value.items() if name not in _FREE}
    if key in LANGUAGES:
        return len(value or ())
    if key == "alpha":  # a loss without weight may not be computed
        return value if value in (0, 1) else "some"
    return value


def rehearsed_pace(out: Path, seconds: float, held_out: int, batch_tokens: int) -> Pace:
    """The pace of a training that took some seconds in all and was validated once on `held_out` tokens a language.

    Its steps may have been smaller than the optimizer steps of `batch_tokens` that are asked about.
    """
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    taken = [row for row in rows if "tokens_per_second" in row]
    tokens = [after - before for before, after in itertools.pairwise([0, *(row["tokens"] for row in taken)])]
    steps = sum(count / row["tokens_per_second"] for count, row in zip(tokens, taken, strict=True))
    speed = statistics.median(row["tokens_per_second"] for row in taken[WARM_UP:])
    languages = sum(key.startswith("validation_loss/") for key in rows[-1])
    loop = float(json.loads((out / "training.json").read_text(encoding="utf-8"))["seconds"])
    token = max(loop - steps, 0.0) / max(languages * held_out, 1)
    return Pace(batch_tokens / speed, token, languages, seconds - loop)


@dataclass(frozen=True)
class Conditions:
    """What makes paces comparable beside the kind of training.

    Attributes:
        parameters: of the model. context: tokens of a block. device, threads: to run on. arithmetic: of the products.
    """

    parameters: int
    context: int
    device: str
    threads: int
    arithmetic: str


@dataclass(frozen=True)
class Recorded:
    """Paces of trainings that earlier runs did on this machine, found in a folder of runs.

    Attributes:
        facts: of each, from its ``training.json``, by its kind; the newest first.
    """

    facts: Mapping[str, list[Mapping[str, Any]]]

    @classmethod
    def of(cls, runs: Path) -> Recorded:
        """Those of a folder; runs that are damaged or of another machine are passed over."""
        facts: dict[str, list[Mapping[str, Any]]] = {}
        files = sorted(runs.glob("*/stages/*/*/training.json"), key=_written, reverse=True)
        for kind, found in itertools.chain.from_iterable(map(_facts, files[:MOST_RECORDS])):
            facts.setdefault(kind, []).append(found)
        return cls(facts)

    def pace(self, stage: Stage, conditions: Conditions, batch_tokens: int) -> Pace | None:
        """Of a training like this one under these conditions; None where there was none."""
        for facts in self.facts.get(kind_of_stage(stage), ()):
            if all(facts.get(name) == value for name, value in vars(conditions).items()):
                training = facts["tokens"] / facts["tokens_per_second"]
                token = max(facts["seconds"] - training, 0.0) / max(facts["validated_tokens"], 1)
                return Pace(batch_tokens / facts["tokens_per_second"], token, facts["validated"], 0.0)
        return None


def _written(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _facts(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(kind, facts) of a training, where it ran on this machine."""
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        if facts.get("processor") == processor() and facts["tokens_per_second"] > 0 and facts["validated"] > 0:
            manifest = json.loads(file.with_name(MANIFEST).read_text(encoding="utf-8"))
            yield kind_of(manifest["stage"], manifest["config"]), facts
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
