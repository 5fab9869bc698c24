"""How much text there will be, before it has been read."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.config.base import PluginSpec, build
from orchestrator.config.recipe import LanguageConfig, Recipe
from orchestrator.errors import MomeError
from orchestrator.tokens.blocks import TokenBlocks, block_count
from orchestrator.tokens.storage import SPLITS

PATIENCE = 2.0
"""Seconds to count the characters of all sources in; text that takes longer to read is enough."""
BITS_PER_CHARACTER = 4.4
"""log2 of the vocabulary a token over characters a token: 2.3 of them with 1,024 tokens and 2.7 with 4,096, measured on
the embedded corpus."""


def counted_blocks(folder: Path) -> dict[str, int]:
    """Blocks of the smallest language by split, of an artifact.

    Raises:
        ArtifactError: it is damaged.
    """
    splits = (TokenBlocks.open(folder, split) for split in SPLITS)
    return {blocks.split: min(map(blocks.count, blocks.languages)) for blocks in splits}


def expected_blocks(recipe: Recipe, vocab_size: int | None = None) -> dict[str, int]:
    """Blocks of each language by split, about, from the characters of its source; empty where they are not at hand.

    The languages are balanced, so each has as many as the smallest. What cleaning takes away is not seen.

    Args:
        recipe: whose text it is.
        vocab_size: tokens of the tokenizer, which say how much text one takes; None: the recipe's.
    """
    smallest: dict[str, float] = {}
    most, end = recipe.corpus.max_documents, time.monotonic() + PATIENCE
    for language, config in recipe.corpus.languages.items():
        for split, characters in _characters(recipe, language, config, most, end):
            if characters is None:
                return {}
            smallest[split] = min(characters, smallest.get(split, math.inf))
    per_token = math.log2(vocab_size or recipe.tokenizer.vocab_size) / BITS_PER_CHARACTER
    tokens = {split: int(characters / per_token) for split, characters in smallest.items()}
    tokens["train"] = min(tokens["train"], recipe.blocks.balance.tokens_per_language or tokens["train"])
    return {split: block_count(count, recipe.blocks.context) for split, count in tokens.items()}


def _characters(
    recipe: Recipe, language: str, config: LanguageConfig, most: int | None, end: float
) -> Iterator[tuple[str, float | None]]:
    """(split, characters) of a language; None: not known."""
    shares = recipe.corpus.splits
    total = _count(config.source, language, most, end)
    if config.validation is not None:
        yield "train", total
        yield "validation", _count(config.validation, language, most, end)
        yield "test", _count(config.test, language, most, end)
        return
    parts = {"train": 1 - shares.validation - shares.test, "validation": shares.validation, "test": shares.test}
    for split, share in parts.items():
        yield split, None if total is None else share * total


def _count(spec: PluginSpec | None, language: str, most: int | None, end: float) -> int | None:
    """Characters of a source; None where it is remote, can't be read, or takes long to."""
    source = build("corpus.sources", spec) if spec else None
    on_hub = hasattr(source, "revision") and getattr(source, "path", None) is None
    if source is None or on_hub:
        return None
    characters = 0
    try:
        for document in itertools.islice(source.documents(language, lost=lambda _: None), most):
            characters += len(document.text)
            if time.monotonic() > end:
                return None
    except MomeError:  # the run will say so, at the step that reads it
        return None
    return characters
