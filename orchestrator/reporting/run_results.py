"""The shape of a run's `results.json`: what :mod:`orchestrator.reporting.results` collects, and the sections show."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from orchestrator.records import Bounds, Means, Ratio, Sample, TrainingFacts

Curve = list[list[float]]
"""[step, value] in order."""
ByLanguage = dict[str, float]
Intervals = dict[str, Bounds | None]
SplitCounts = dict[str, int]
"""Of the cleaned corpus ("documents", "characters", "bytes"), and of what models see of it ("tokens", "blocks")."""
Scores = dict[str, float]
"""Of a classifier on whole blocks, as in the paper's Table 3: "accuracy", "precision", "recall", "f1"."""


class BlockFacts(TypedDict):
    """Packed blocks: tokens of one, type of a token, size of the vocabulary."""

    context: int
    dtype: str
    vocab_size: int


class Curves(TypedDict):
    """Over the optimizer step of one training. `train`: cross-entropy where it was logged, otherwise the loss."""

    train: Curve
    soft: Curve
    validation: Curve
    validation_by_language: dict[str, Curve]
    alpha: Curve
    beta: Curve


class RouterFacts(TypedDict):
    """The router. `classifiers`: name -> length of the text -> metrics; `prompt`, `timing`: None where not
    measured; `text`: that ships for routers, None where none is used.
    """

    used: str
    languages: list[str]
    averaging: str
    confidence: float
    sequence_tokens: int
    training_sequences: dict[str, int]
    classifiers: dict[str, dict[str, Any]]
    prompt: dict[str, Any] | None
    text: dict[str, Any] | None
    timing: dict[str, Any] | None


class Rival(Ratio):
    """The best other expert's perplexity over the language's own expert's."""

    rival: str


class Comparisons(TypedDict):
    """Paired, by language."""

    next_best_to_own: dict[str, Rival]
    routed_to_teacher: dict[str, Ratio]
    frequencies_to_own: dict[str, Ratio]


class Corpus(TypedDict):
    """What went in. `removed`: documents by language and reason. `filters`: of languages that have any, by name: counts
    of dropped documents by "rules", of "edits", and "samples" of what was dropped.
    """

    corpus: dict[str, dict[str, SplitCounts]]
    removed: dict[str, dict[str, int]]
    filters: NotRequired[dict[str, dict[str, Any]]]


class Router(TypedDict):
    """How well the router finds the language; `table3_router`: classifier -> scores on whole blocks."""

    table3_router: dict[str, Scores]
    router: RouterFacts


class Evaluated(TypedDict):
    """Perplexities with intervals, and by language what models wrote. `bits_per_byte`, `bits_per_character`: of
    "teacher", "own_expert", "routed".
    """

    setup: str
    split: str
    confidence: float
    evaluated_blocks: dict[str, int]
    expert_perplexity: dict[str, ByLanguage]
    expert_perplexity_interval: dict[str, Intervals]
    teacher_perplexity: ByLanguage
    teacher_perplexity_interval: Intervals
    table4_perplexity: dict[str, ByLanguage]
    table4_perplexity_interval: dict[str, Intervals]
    bits_per_byte: dict[str, ByLanguage]
    bits_per_character: NotRequired[dict[str, ByLanguage]]
    routed_right: ByLanguage
    mean_perplexity: Means
    routing_cost: dict[str, Ratio]
    comparisons: Comparisons
    samples: dict[str, list[Sample]]


class Lineage(TypedDict):
    """Where everything comes from. `seconds` has a "total", `peak_memory_bytes` the "largest" and that of the "run"."""

    steps: list[dict[str, Any]]
    seconds: dict[str, float]
    peak_memory_bytes: dict[str, int | None]
    versions: dict[str, str]
    drift: str


class RunResults(Corpus, Router, Evaluated, Lineage):
    """Every number of a run's report. Where one is the paper's, it has the name and shape of the paper's tables."""

    name: str
    languages: list[str]
    recipe: dict[str, Any]
    blocks: BlockFacts
    tokenizer: dict[str, Any]
    models: dict[str, TrainingFacts]
    learning_curves: dict[str, Curves]
    alignments: NotRequired[dict[str, dict[str, Any]]]
