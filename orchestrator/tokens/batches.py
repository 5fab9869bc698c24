"""Which blocks a step sees: a pure function of the step, so training resumes anywhere, on any number of workers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from orchestrator.errors import TrainingError
from orchestrator.tokens.blocks import TokenBlocks


@dataclass(frozen=True)
class BatchOrder:
    """The global batch of every step; rank r of w takes ``rows(step)[r::w]``.

    Blocks come from endless sequences: permutations of all blocks, a new one each epoch, one after the other (a batch
    may span two). The sampling says how batches draw from them:

    - `mixed`: one sequence over all languages; every block exactly once an epoch.
    - `balanced`: one sequence a language; every batch holds equally many blocks of each (to within one where the batch
      does not divide by the languages; the odd ones take turns).
    - `by_language`: one sequence a language; every batch is of one language, and each language comes up once in as many
      steps as there are languages, in an order shuffled anew each time.

    Attributes:
        blocks: to draw from.
        languages: which of its languages.
        batch_blocks: blocks of a global batch.
        seed: of all permutations.
        sampling: how languages are mixed.

    Raises:
        TrainingError: no languages, languages without blocks, or a batch of no blocks.
    """

    blocks: TokenBlocks
    languages: tuple[str, ...]
    batch_blocks: int
    seed: int
    sampling: Literal["mixed", "balanced", "by_language"] = "mixed"

    def __post_init__(self) -> None:
        empty = [language for language in self.languages if not self.blocks.count(language)]
        if empty or not self.languages:
            raise TrainingError(
                f"there are no {self.blocks.split} blocks to train on of {', '.join(empty) or 'no language'}",
                where=str(self.blocks.folder),
                fix="shorten blocks.context or give the corpus more text",
            )
        if self.batch_blocks < 1:
            raise TrainingError(
                "a batch holds less than one block",
                where="training.batch_tokens",
                fix="set it to blocks.context or more",
            )

    def rows(self, step: int) -> np.ndarray:
        """The global batch of a step: int64 [batch_blocks, 2] = (language index in `blocks.languages`, block index)."""
        slots = np.arange(step * self.batch_blocks, (step + 1) * self.batch_blocks)
        match self.sampling:
            case "mixed":
                return self._mixed(slots)
            case "balanced":
                return self._balanced(slots, step)
            case "by_language":
                return self._by_language(step)

    def steps_for(self, tokens: int | None = None, epochs: float = 1.0) -> int:
        """Steps that see at least so many target tokens, or (where `tokens` is None) so many times all blocks."""
        blocks = epochs * sum(map(self.blocks.count, self.languages))
        if tokens is not None:
            blocks = tokens / self.blocks.context
        return max(1, math.ceil(blocks / self.batch_blocks - 1e-9))

    def drawn(self, language: str, steps: int) -> np.ndarray:
        """Which blocks of a language the first steps see: their indices, ascending, int64 [blocks]."""
        index, seen = self.blocks.languages.index(language), np.zeros(self.blocks.count(language), dtype=bool)
        for step in range(steps):
            rows = self.rows(step)
            seen[rows[rows[:, 0] == index, 1]] = True
            if seen.all():
                break
        return np.flatnonzero(seen)

    def _mixed(self, slots: np.ndarray) -> np.ndarray:
        ends = np.cumsum([self.blocks.count(language) for language in self.languages])
        drawn = _sequence(self.seed, "mixed", int(ends[-1]), slots)
        which = np.searchsorted(ends, drawn, side="right")
        begins = np.concatenate([[0], ends[:-1]])
        return np.stack([self._indices()[which], drawn - begins[which]], axis=1)

    def _balanced(self, slots: np.ndarray, step: int) -> np.ndarray:
        turns, which = np.divmod(slots, len(self.languages))
        rows = np.empty((len(slots), 2), dtype=np.int64)
        for index, language in enumerate(self.languages):
            rows[which == index] = self._draw(language, turns[which == index])
        # Shuffled, so that every rank's share is a mix of languages too.
        return np.random.default_rng([self.seed, step]).permutation(rows)

    def _by_language(self, step: int) -> np.ndarray:
        cycle = step // len(self.languages)
        turn = int(_sequence(self.seed, "languages", len(self.languages), np.array([step]))[0])
        return self._draw(self.languages[turn], np.arange(cycle * self.batch_blocks, (cycle + 1) * self.batch_blocks))

    def _draw(self, language: str, places: np.ndarray) -> np.ndarray:
        """Rows at some places of the endless sequence of a language."""
        drawn = _sequence(self.seed, f"language {language}", self.blocks.count(language), places)
        return np.stack([np.full(len(places), self.blocks.languages.index(language)), drawn], axis=1)

    def _indices(self) -> np.ndarray:
        return np.array([self.blocks.languages.index(language) for language in self.languages], dtype=np.int64)


def _sequence(seed: int, name: str, size: int, places: np.ndarray) -> np.ndarray:
    """Values at ascending `places` of the endless concatenation of permutations of 0 … size-1, int64 [places]."""
    epochs, offsets = np.divmod(places, size)
    parts = [_permutation(seed, name, size, int(epoch))[offsets[epochs == epoch]] for epoch in np.unique(epochs)]
    return np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)


@lru_cache(maxsize=32)
def _permutation(seed: int, name: str, size: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch, *name.encode()]).permutation(size)
