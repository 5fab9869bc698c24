"""The router at run time: token ids to language probabilities, with numpy alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.errors import ArtifactError
from orchestrator.routers import _files
from orchestrator.routers._classifiers import Classifier, rebuild
from orchestrator.routers._tfidf import Tfidf

Sequences = Sequence[ArrayLike] | NDArray[np.integer[Any]]

CHUNK = 64
"""Sequences classified at once: bounds the memory of a large batch (a forest holds CHUNK × F float32)."""


@dataclass(frozen=True)
class Router:
    """Features and a classifier over the experts' languages (paper, section 3.4).

    Attributes:
        languages: the labels, in the order of the probabilities' columns.
        features, classifier: what it was trained to.
        prior: float64 [L], shares of the training sequences: the answer where a sequence holds no known feature.
    """

    languages: tuple[str, ...]
    features: Tfidf
    classifier: Classifier
    prior: NDArray[np.float64]

    def probabilities(self, sequences: Sequences) -> NDArray[np.float64]:
        """Probability of each language for each sequence, alone: the others in the batch change nothing.

        Args:
            sequences: n sequences of token ids, of any lengths, empty and unknown ids included; or an array [n, T].

        Returns:
            float64 [n, L], rows sum to 1. A sequence without any known feature gets the prior.
        """
        result = np.empty((len(sequences), len(self.languages)))
        for start in range(0, len(sequences), CHUNK):
            features = self.features.transform(sequences[start : start + CHUNK])
            answers = np.where(features.empty()[:, None], self.prior, self.classifier.probabilities(features))
            result[start : start + CHUNK] = answers
        return result

    def route(self, sequences: Sequences) -> list[str]:
        """The most probable language of each sequence; the first in `languages` of equally probable ones."""
        return [self.languages[label] for label in self.probabilities(sequences).argmax(axis=1)]

    @classmethod
    def load(cls, folder: Path, classifier: str | None = None) -> Router:
        """The router stored in `folder` by :func:`save_routers`.

        Args:
            folder: the artifact.
            classifier: which of the stored classifiers; None: the one that the recipe chose.

        Raises:
            ArtifactError: a file is missing or damaged, or there is no such classifier.
        """
        path = folder / "router.json"
        summary = _files.read_json(path)
        stored = summary.get("classifiers")
        if not isinstance(stored, dict):
            raise ArtifactError("a router file is damaged: it lists no classifiers", str(path), _files.FIX)
        name = classifier or str(summary.get("classifier"))
        if name not in stored:
            raise ArtifactError(f"no router classifier {name!r} is stored", str(path), "stored: " + ", ".join(stored))
        tensors, metadata = _files.read(folder, name, stored[name])
        features = Tfidf(tensors.pop("features.tokens"), tensors.pop("features.idf"))
        prior = tensors.pop("prior")
        return cls(tuple(metadata["languages"]), features, rebuild(metadata["classifier"], tensors), prior)

    def save(self, folder: Path, name: str) -> str:
        """Write this router's `name`.safetensors and `name`.json.

        Returns:
            Their digest, which :meth:`load` checks.
        """
        own = {"features.tokens": self.features.tokens, "features.idf": self.features.idf, "prior": self.prior}
        metadata = {"languages": list(self.languages), "classifier": self.classifier.settings()}
        return _files.write(folder, name, {**own, **self.classifier.tensors()}, metadata)


def save_routers(folder: Path, plugin: str, routers: Mapping[str, Router], used: str) -> None:
    """Write every router by its classifier's name, and `router.json`: plug-in, the one in use, languages, digests."""
    summary = {
        "type": plugin,
        "classifier": used,
        "languages": list(routers[used].languages),
        "classifiers": {name: router.save(folder, name) for name, router in routers.items()},
    }
    (folder / "router.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
