"""The recipe's section on the corpus."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from orchestrator.config.base import Section, plugin_of
from orchestrator.config.names import Fraction, Language


class LanguageConfig(Section):
    """Where one language's text comes from."""

    source: plugin_of("corpus.sources")  # type: ignore[valid-type]
    """Source of the documents. Split by document, unless `validation` and `test` are given."""
    validation: plugin_of("corpus.sources") | None = None  # type: ignore[valid-type]
    """Source of the validation documents, for corpora that come with their own splits."""
    test: plugin_of("corpus.sources") | None = None  # type: ignore[valid-type]
    """Source of the test documents, for corpora that come with their own splits."""
    kind: Literal["prose", "code"] = "prose"
    """How to clean it: prose as paragraphs, code as files with `code_filter`. Code has names of its own: `pl`, Perl."""

    @model_validator(mode="after")
    def _both_or_none(self) -> LanguageConfig:
        if (self.validation is None) != (self.test is None):
            raise ValueError("give both validation and test, or neither")
        return self


class CodeFilter(Section):
    """Which source files are kept (the paper filters Python files by length, section 3.1)."""

    min_characters: int = Field(200, ge=0)
    """Shortest file kept, in characters."""
    max_characters: int = Field(100_000, ge=1)
    """Longest file kept, in characters."""
    max_line_length: int = Field(1000, ge=1)
    """Files with a longer line are dropped: they are generated or data."""
    max_mean_line_length: float = Field(100, gt=0)
    """Files whose lines are longer on average are dropped."""
    min_alphanumeric: float = Field(0.25, ge=0, le=1)
    """Least share of letters and digits among the characters."""


class DeduplicationConfig(Section):
    """Which repeated documents are removed, within a language and across its splits."""

    exact: bool = True
    """Remove documents whose text is equal after white space and case are normalised."""
    near: float | None = Field(0.8, gt=0, le=1)
    """Remove documents whose Jaccard similarity of shingles, by MinHash, is at least this; null: keep them. A shingle
    is five words, or five characters in scripts that don't part words by spaces."""


class SplitConfig(Section):
    """Shares of the documents (never of chunks) held out; equal article ids land in equal splits in every language."""

    validation: Fraction = 0.05
    """Share of documents for validation."""
    test: Fraction = 0.05
    """Share of documents for testing."""

    @model_validator(mode="after")
    def _leaves_training(self) -> SplitConfig:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation + test = {self.validation + self.test:g} leaves nothing to train on")
        return self


class CorpusConfig(Section):
    """Text in: sources, cleaning, deduplication, splits, balance."""

    languages: dict[Language, LanguageConfig] = Field(min_length=1)
    """One entry a language; one expert is distilled for each."""
    min_characters: int = Field(100, ge=0)
    """Shortest prose document kept, in characters after cleaning."""
    unreadable_rows: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, le=1)] = 0.1
    """Rows of a source that may lack their text or hold bytes that are none: a number, or a share of all (1.0: all).
    They count as filtered; more of them stop the build."""
    max_documents: int | None = Field(None, ge=1)
    """Read at most this many documents of a source (for trials); null: all."""
    common_articles: bool = False
    """Keep only article ids that every prose language has."""
    code_filter: CodeFilter = Field(default_factory=CodeFilter)
    """Filter of languages whose kind is code."""
    deduplication: DeduplicationConfig = Field(default_factory=DeduplicationConfig)
    """Removal of repeated documents."""
    splits: SplitConfig = Field(default_factory=SplitConfig)
    """Held-out shares, for languages that don't bring their own splits."""
    filters: tuple[plugin_of("corpus.filters"), ...] = ()  # type: ignore[valid-type]
    """What prose has to pass, in this order, after `min_characters` and before deduplication: `language`, `gopher`,
    `gopher_repetition`, `c4`. What each drops is counted by rule and sampled. The same filter may be given several
    times, for languages of their own (`languages`)."""

    @field_validator("languages")
    @classmethod
    def _differ(cls, languages: dict[str, LanguageConfig]) -> dict[str, LanguageConfig]:
        """Each has files of its own name, also where file systems take `pt-BR` and `pt-br` for one."""
        seen: dict[str, str] = {}
        for name in languages:
            if (other := seen.setdefault(name.lower(), name)) != name:
                raise ValueError(f"{other!r} and {name!r} differ in capital letters alone")
        return languages
