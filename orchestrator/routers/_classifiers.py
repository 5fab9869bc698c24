"""Trained classifiers as plain arrays: probabilities with numpy alone, equal to scikit-learn's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ArtifactError
from orchestrator.routers._tfidf import SparseRows

Tensors = Mapping[str, NDArray[np.generic]]
Link = Literal["softmax", "one_vs_rest"]


class Classifier(Protocol):
    """What a router needs of a trained classifier."""

    def probabilities(self, features: SparseRows) -> NDArray[np.float64]:
        """float64 [n, L], rows sum to 1."""

    def settings(self) -> dict[str, str]:
        """What rebuilds it besides its tensors: "kind", and more by kind."""

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Its arrays by name."""


@dataclass(frozen=True)
class Linear:
    """Linear scores with a softmax (logistic regression) or normalised sigmoids (one-vs-rest SGD).

    Attributes:
        weights: float64 [L, F].
        bias: float64 [L].
        link: how scores become probabilities.
    """

    kind: ClassVar[str] = "linear"
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    link: Link

    def probabilities(self, features: SparseRows) -> NDArray[np.float64]:
        """See :class:`Classifier`."""
        scores = np.empty((features.count, len(self.bias)))
        for label, (weights, bias) in enumerate(zip(self.weights, self.bias, strict=True)):
            terms = features.values * weights[features.columns]
            scores[:, label] = np.bincount(features.rows, terms, minlength=features.count) + bias
        # log p up to a constant of the row; softmax then normalises without overflow, for both links.
        logs = -np.logaddexp(0.0, -scores) if self.link == "one_vs_rest" else scores
        odds = np.exp(logs - logs.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True), np.float64)

    def settings(self) -> dict[str, str]:
        """See :class:`Classifier`."""
        return {"kind": self.kind, "link": self.link}

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """See :class:`Classifier`."""
        return {"weights": self.weights, "bias": self.bias}


@dataclass(frozen=True)
class Forest:
    """A random forest as flat arrays: the nodes of all trees one after the other, children by global index.

    A leaf is its own child, so all trees descend together for as many steps as the deepest has.

    Attributes:
        roots: int32 [trees].
        left, right, feature: int32 [nodes].
        threshold: float64 [nodes].
        shares: float64 [nodes, L], the share of each label among the training sequences of a node.
    """

    kind: ClassVar[str] = "forest"
    roots: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    shares: NDArray[np.float64]

    def probabilities(self, features: SparseRows) -> NDArray[np.float64]:
        """See :class:`Classifier`."""
        dense = features.dense(int(self.feature.max()) + 1)
        samples = np.arange(features.count)[:, None]
        nodes = np.broadcast_to(self.roots, (features.count, len(self.roots)))
        for _ in range(len(self.left)):  # a bound that no tree reaches
            goes_left = dense[samples, self.feature[nodes]] <= self.threshold[nodes]
            children = np.where(goes_left, self.left[nodes], self.right[nodes])
            if np.array_equal(children, nodes):
                break
            nodes = children
        return np.asarray(self.shares[nodes].mean(axis=1), np.float64)

    def settings(self) -> dict[str, str]:
        """See :class:`Classifier`."""
        return {"kind": self.kind}

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """See :class:`Classifier`."""
        return {
            "roots": self.roots,
            "left": self.left,
            "right": self.right,
            "feature": self.feature,
            "threshold": self.threshold,
            "shares": self.shares,
        }


def rebuild(settings: Mapping[str, str], tensors: Tensors) -> Classifier:
    """The classifier that `settings` and `tensors` describe (inverse of the methods of those names).

    Raises:
        ArtifactError: a kind that this version does not know.
    """
    options = dict(settings)
    kind = options.pop("kind", "")
    for cls in (Linear, Forest):
        if cls.kind == kind:
            return cls(**tensors, **options)  # type: ignore[arg-type]
    raise ArtifactError(
        f"a router classifier of unknown kind {kind!r}", where="router", fix="upgrade, or train the router again"
    )
