"""The paper's router at run time: token ids to language probabilities, with numpy alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.routers._classifiers import Classifier, rebuild
from orchestrator.routers._router import Router, Sequences
from orchestrator.routers._tfidf import Tfidf

CHUNK = 64
"""Sequences classified at once: bounds the memory of a large batch (a forest holds CHUNK × F float32)."""


@dataclass(frozen=True)
class TokenRouter(Router):
    """Features and a classifier over the experts' languages (paper, section 3.4).

    Attributes:
        languages: the labels, in the order of the probabilities' columns.
        features, classifier: what it was trained to.
        prior: float64 [L], shares of the training sequences: the answer where a sequence holds no known feature.
    """

    reads: ClassVar[str] = "tokens"
    languages: tuple[str, ...]
    features: Tfidf
    classifier: Classifier
    prior: NDArray[np.float64]

    def probabilities(self, sequences: Sequences) -> NDArray[np.float64]:
        """See :class:`Router`; a sequence without any known feature gets the prior."""
        result = np.empty((len(sequences), len(self.languages)))
        for start in range(0, len(sequences), CHUNK):
            features = self.features.transform(sequences[start : start + CHUNK])
            answers = np.where(features.empty()[:, None], self.prior, self.classifier.probabilities(features))
            result[start : start + CHUNK] = answers
        return result

    def parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """See :class:`Router`."""
        own = {"features.tokens": self.features.tokens, "features.idf": self.features.idf, "prior": self.prior}
        metadata = {"languages": list(self.languages), "classifier": self.classifier.settings()}
        return {**own, **self.classifier.tensors()}, metadata

    @classmethod
    def rebuild(cls, tensors: dict[str, NDArray[Any]], metadata: dict[str, Any]) -> TokenRouter:
        """See :class:`Router`."""
        features = Tfidf(tensors.pop("features.tokens"), tensors.pop("features.idf"))
        prior = tensors.pop("prior")
        return cls(tuple(metadata["languages"]), features, rebuild(metadata["classifier"], tensors), prior)
