"""Results that one room writes and another reads, as they are in their JSON files: each has its one home here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

Bounds = Sequence[float]
"""[low, high] of an interval: a list in JSON."""


class Measured(TypedDict):
    """A model on a language's held-out text.

    Keys:
        loss: nats a token. perplexity: its exponential. interval: of the perplexity; None: too few works to tell.
        bits_per_byte: of UTF-8 text.
    """

    loss: float
    perplexity: float
    interval: Bounds | None
    bits_per_byte: float


class Routed(Measured):
    """What the router's choice of experts makes of a language.

    Keys:
        accuracy: share of blocks that go to the language's own expert. accuracy_interval: of it.
        routes: blocks by the expert that they go to.
    """

    accuracy: float
    accuracy_interval: Bounds | None
    routes: dict[str, int]


class PerplexityMean(TypedDict):
    """A mean over languages, with its interval."""

    perplexity: float
    interval: Bounds | None


class LanguageMean(TypedDict):
    """Means over the languages.

    Keys:
        loss, bits_per_byte: plain means. arithmetic: mean of the perplexities (the paper's "All", Table 5).
        geometric: the exponential of the mean loss.
    """

    loss: float
    bits_per_byte: float
    arithmetic: PerplexityMean
    geometric: PerplexityMean


class Means(TypedDict):
    """Means over the languages of each way to answer."""

    teacher: LanguageMean
    experts: dict[str, LanguageMean]
    true_language: LanguageMean
    routed: LanguageMean


class Ratio(TypedDict):
    """Of two perplexities on the same blocks, with the interval of the paired difference."""

    ratio: float
    interval: Bounds | None


class Tables(TypedDict):
    """What an evaluation says of the teacher, the experts and the router.

    Keys:
        blocks, tokens, bytes, works: evaluated, by language. teacher: by language. experts: by expert and language.
        true_language: what a perfect router would choose, by language. routed: what the router chooses, by language.
        routing_cost: the routed perplexity over the true language's, by language. means: over the languages.
    """

    blocks: dict[str, int]
    tokens: dict[str, int]
    bytes: dict[str, int]
    works: dict[str, int]
    teacher: dict[str, Measured]
    experts: dict[str, dict[str, Measured]]
    true_language: dict[str, Measured]
    routed: dict[str, Routed]
    routing_cost: dict[str, Ratio]
    means: Means


class Evaluation(Tables):
    """`evaluation.json`.

    Keys:
        split: that was evaluated on. context: targets of a block. confidence: coverage of the intervals.
        bootstrap: resamples.
    """

    split: str
    context: int
    confidence: float
    bootstrap: int


class Sample(TypedDict):
    """What the teacher and a language's own expert wrote after the beginning of a held-out text."""

    prompt: str
    teacher: str
    expert: str


class VocabularyFacts(TypedDict):
    """`vocabulary.json` of an expert with some of the teacher's tokens, and what the whole vocabulary would take.

    Keys:
        tokens, of: that it has, and the teacher. keep: share of the text's tokens asked for. covered: those kept.
        longer: its tokens for the training text, over the teacher's. tokenizer: SHA-256 of the teacher's.
        whole_parameters: of the same architecture with all tokens.
    """

    tokens: int
    of: int
    keep: float
    covered: float
    longer: float
    tokenizer: str
    whole_parameters: int


class TrainingFacts(TypedDict):
    """`training.json` of a model; of one that was not trained, less.

    Keys:
        parameters, weights_sha256: of the model. steps, tokens, seconds: of the training in all.
        tokens_per_second: of its optimizer steps, without validations.
        best_step, best_validation_loss, final_validation_loss: of its validations.
        published_step: whose weights the model has.
        peak_memory_bytes: of a worker. strategy, world_size, device, threads, arithmetic, processor: that it ran on.
        context: tokens of a block. validated: languages. validated_tokens: of all validations together.
        vocabulary: of an expert that has some of the tokens; its losses are over these and one for all others.
    """

    parameters: int
    weights_sha256: str
    steps: NotRequired[int]
    tokens: NotRequired[int]
    seconds: NotRequired[float]
    tokens_per_second: NotRequired[float]
    best_step: NotRequired[int | None]
    best_validation_loss: NotRequired[float | None]
    final_validation_loss: NotRequired[float | None]
    published_step: NotRequired[int]
    peak_memory_bytes: NotRequired[int]
    strategy: NotRequired[str]
    world_size: NotRequired[int]
    device: NotRequired[str]
    threads: NotRequired[int]
    arithmetic: NotRequired[str]
    processor: NotRequired[str]
    context: NotRequired[int]
    validated: NotRequired[int]
    validated_tokens: NotRequired[int]
    vocabulary: NotRequired[VocabularyFacts]


class MemoryFacts(TypedDict):
    """What a manifest says of memory, in bytes; None: not known. See :mod:`orchestrator.memory`."""

    peak_memory_bytes: int | None
    run_peak_memory_bytes: int | None
