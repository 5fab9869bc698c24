"""The results of a run as a typed record, read from the `results.json` of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import ArtifactError
from orchestrator.reporting.facts import read_json

Interval = tuple[float, float]


@dataclass(frozen=True)
class Perplexity:
    """Of one model on one language's held-out text.

    Attributes:
        perplexity: exp of the mean loss in nats a token.
        interval: of the perplexity, at the confidence of the results; None: too few works to tell.
    """

    perplexity: float
    interval: Interval | None


@dataclass(frozen=True)
class RouterScores:
    """Of one classifier on whole blocks, as in the paper's Table 3; shares from 0 to 1, averaged over the languages."""

    accuracy: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class RouterResults:
    """How well the router finds the language.

    Attributes:
        used: the classifier that routes.
        scores: of every classifier, by its name.
        routed_right: share of each language's evaluated blocks that its own expert got.
    """

    used: str
    scores: Mapping[str, RouterScores]
    routed_right: Mapping[str, float]


@dataclass(frozen=True)
class Results:
    """What a run has measured.

    Attributes:
        name: of the run.
        languages: in the recipe's order.
        setup: how the experts make a mixture.
        split: that was evaluated on.
        confidence: coverage of the intervals.
        experts: expert -> language -> perplexity, the matrix.
        teacher: language -> perplexity.
        routed: language -> perplexity through the router.
        router: how well it finds the language.
        parameters: of each model, by its name.
        seconds: of each step, and "total".
        settings: the recipe as plain data, without resources and tracking.
    """

    name: str
    languages: tuple[str, ...]
    setup: str
    split: str
    confidence: float
    experts: Mapping[str, Mapping[str, Perplexity]]
    teacher: Mapping[str, Perplexity]
    routed: Mapping[str, Perplexity]
    router: RouterResults
    parameters: Mapping[str, int]
    seconds: Mapping[str, float]
    settings: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Results:
        """The results in a `results.json`.

        Raises:
            ArtifactError: it is missing, damaged, or not the report of a run (but of a study or a sweep, say).
        """
        found = read_json(path)
        if "expert_perplexity" not in found:
            fix = f"read {path} yourself: its numbers are those of the report beside it"
            raise ArtifactError("these are results of a study or a sweep, which have no such record", str(path), fix)
        setup = found["setup"]
        matrix, intervals = found["expert_perplexity"], found["expert_perplexity_interval"]
        scores = {name: RouterScores(**row) for name, row in found["table3_router"].items()}
        return cls(
            name=found["name"],
            languages=tuple(found["languages"]),
            setup=setup,
            split=found["split"],
            confidence=found["confidence"],
            experts={expert: _row(matrix[expert], intervals[expert]) for expert in matrix},
            teacher=_row(found["teacher_perplexity"], found["teacher_perplexity_interval"]),
            routed=_row(found["table4_perplexity"][setup], found["table4_perplexity_interval"][setup]),
            router=RouterResults(found["router"]["used"], scores, dict(found["routed_right"])),
            parameters={name: facts["parameters"] for name, facts in found["models"].items()},
            seconds=dict(found["seconds"]),
            settings=dict(found["recipe"]),
        )


def _row(values: Mapping[str, float], intervals: Mapping[str, Sequence[float] | None]) -> dict[str, Perplexity]:
    return {language: Perplexity(value, _interval(intervals[language])) for language, value in values.items()}


def _interval(bounds: Sequence[float] | None) -> Interval | None:
    return None if bounds is None else (bounds[0], bounds[1])
