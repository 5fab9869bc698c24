"""Text to tokens, and how many of them an expert has."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from orchestrator.config.base import Section


class TokenizerConfig(Section):
    """Byte-pair encoding trained on the corpus, with <unk> <s> </s> = 0, 1, 2 and no text lost; or one that exists."""

    located: ClassVar[tuple[str, ...]] = ("path",)

    vocab_size: int = Field(32_000, ge=259)
    """Size of the vocabulary, special tokens and the 256 bytes included; of the teacher's tokenizer it is its own."""
    path: str | None = Field(None, min_length=1)
    """Load this folder's tokenizer.json instead of training one."""
    of_teacher: bool = False
    """Take the pretrained teacher's own tokenizer. A recipe without `tokenizer` does where `teacher.train` is false."""
    max_characters_per_language: int = Field(50_000_000, ge=1000)
    """Text of each language to train on, at most, in characters; the languages get equal shares."""


class VocabularyConfig(Section):
    """Each language's expert has the tokens that its text needs, and spells all others in smaller ones."""

    keep: float = Field(0.999, gt=0, le=1)
    """Share of the training text's tokens that are kept as they are: the fewest that make it up, with all bytes, the
    special tokens, and the parts that a kept token is merged from."""
