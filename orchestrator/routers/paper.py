"""The paper's router: TF-IDF over token ids, and three classifiers to compare (section 3.4, Table 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from orchestrator.errors import CorpusError
from orchestrator.routers import _tfidf, _training
from orchestrator.routers._token_router import TokenRouter


@dataclass(frozen=True)
class Paper:
    """TF-IDF with logistic regression, SGD or a random forest; all three are trained and compared.

    It is meant for long sequences, as the paper measures it: on a few words it is often wrong.
    """

    reads: ClassVar[str] = "blocks"

    classifier: Literal["logistic_regression", "sgd", "random_forest"] = "logistic_regression"
    """The classifier that routes."""
    sequence_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of a training sequence, at most the context; null: the context, as in the paper."""

    def train(
        self, sequences: Mapping[str, Sequence[NDArray[np.int64]]], seed: int, threads: int
    ) -> dict[str, TokenRouter]:
        """Train every classifier on the same features.

        Args:
            sequences: token-id sequences of each language.
            seed: of everything random in the classifiers.
            threads: to train with; changes nothing in the result.

        Returns:
            The routers by classifier; ``routers[self.classifier]`` is the one to use.

        Raises:
            CorpusError: a language without sequences, or no features.
        """
        languages = tuple(sequences)
        counts = np.array([len(sequences[language]) for language in languages])
        for language, count in zip(languages, counts, strict=True):
            if not count:
                raise CorpusError(f"no training sequence in {language!r}", "router", "give that language more text")
        labels = np.repeat(np.arange(len(languages)), counts)
        features, matrix = _tfidf.fit(sequence for language in languages for sequence in sequences[language])
        return {
            name: TokenRouter(languages, features, fit(matrix, labels, seed, threads), counts / counts.sum())
            for name, fit in _training.TRAINERS.items()
        }
