"""What a router is trained and measured on, read from a run's artifacts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.corpus.storage import read_texts
from orchestrator.errors import CorpusError
from orchestrator.routers.text.pieces import LanguageTexts
from orchestrator.tokens.blocks import TokenBlocks


@dataclass(frozen=True)
class RoutingData:
    """Blocks and documents of each language.

    Attributes:
        inputs: folders of the artifacts by role.
        languages: names in the recipe, in order.
        code_languages: those whose kind is code.
        seed: of each choice.
    """

    inputs: Mapping[str, Path]
    languages: tuple[str, ...]
    code_languages: tuple[str, ...]
    seed: int

    @property
    def context(self) -> int:
        """Tokens of a block."""
        return TokenBlocks.open(self.inputs["blocks"], "train").context

    def sequences(self, tokens: int, most: int) -> dict[str, NDArray[np.int64]]:
        """Training sequences of each language, int64 [n, tokens] with n at most `most`.

        A seeded choice of blocks, or of pieces of blocks where `tokens` is less than the context.

        Raises:
            CorpusError: a language has no block.
        """
        blocks = TokenBlocks.open(self.inputs["blocks"], "train")
        return {language: self._sample(blocks, language, tokens, most) for language in self.languages}

    def _sample(self, blocks: TokenBlocks, language: str, tokens: int, most: int) -> NDArray[np.int64]:
        pieces = blocks.context // tokens
        rng = np.random.default_rng([self.seed, self.languages.index(language)])
        chosen = np.sort(rng.permutation(_count(blocks, language) * pieces)[:most])
        starts = chosen % pieces * tokens
        whole = _inputs(blocks, language, chosen // pieces)
        return np.take_along_axis(whole, starts[:, None] + np.arange(tokens), axis=1)

    def test_blocks(self) -> dict[str, NDArray[np.int64]]:
        """Input tokens of every test block of each language, int64 [n, context].

        Raises:
            CorpusError: a language has no block.
        """
        blocks = TokenBlocks.open(self.inputs["blocks"], "test")
        return {name: _inputs(blocks, name, np.arange(_count(blocks, name))) for name in self.languages}

    def texts(self, characters: int) -> dict[str, LanguageTexts]:
        """Documents of each language to train and to calibrate on, of either about `characters` at most."""
        return {
            language: LanguageTexts(
                self.documents("train", language, characters),
                self.documents("validation", language, characters),
                is_code=language in self.code_languages,
            )
            for language in self.languages
        }

    def documents(self, split: str, language: str, characters: int) -> list[str]:
        """Documents of a split: a seeded choice where there are more than `characters`."""
        corpus = self.inputs["corpus"]
        counts = json.loads((corpus / "corpus.json").read_text(encoding="utf-8"))["languages"][language]["splits"]
        share = characters / max(1, counts[split]["characters"])
        rng = np.random.default_rng([self.seed, self.languages.index(language)])
        return [text for text in read_texts(corpus, split, language) if share >= 1 or rng.random() < share]


def _count(blocks: TokenBlocks, language: str) -> int:
    count = blocks.count(language)
    if not count:
        raise CorpusError(
            f"the {blocks.split} split of {language!r} is shorter than one block of {blocks.context} tokens",
            where=f"corpus.languages.{language}",
            fix="give that language more text, or set a smaller blocks.context",
        )
    return count


def _inputs(blocks: TokenBlocks, language: str, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Input tokens of blocks of a language: int64 [n, context]."""
    row = np.full(len(indices), blocks.languages.index(language))
    return np.asarray(blocks.gather(np.stack([row, indices], axis=1))[:, :-1], np.int64)
