"""The paper's three classifiers, trained with scikit-learn and turned into plain arrays (section 3.4, Table 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.routers._classifiers import Classifier, Forest, Linear, Link

Trainer = Callable[[Any, NDArray[np.int64], int, int], Classifier]


def logistic_regression(features: Any, labels: NDArray[np.int64], seed: int, threads: int) -> Linear:
    """Multinomial logistic regression.

    Args:
        features: scipy CSR, float64 [n, F].
        labels: int64 [n], each of 0..L-1 at least once.
        seed: of everything random.
        threads: to train with; changes nothing in the result.
    """
    from sklearn.linear_model import LogisticRegression

    del threads  # its solver is deterministic and runs in one thread
    return _linear(LogisticRegression(max_iter=1000, random_state=seed), features, labels, "softmax")


def sgd(features: Any, labels: NDArray[np.int64], seed: int, threads: int) -> Linear:
    """Logistic regressions, one label against the rest, by stochastic gradient descent."""
    from sklearn.linear_model import SGDClassifier

    return _linear(SGDClassifier(loss="log_loss", random_state=seed, n_jobs=threads), features, labels, "one_vs_rest")


def random_forest(features: Any, labels: NDArray[np.int64], seed: int, threads: int) -> Forest:
    """A random forest of 100 trees; the same one with any number of threads."""
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(n_estimators=100, random_state=seed, n_jobs=threads).fit(features, labels)
    return flatten([tree.tree_ for tree in model.estimators_])


TRAINERS: dict[str, Trainer] = {
    "logistic_regression": logistic_regression,
    "sgd": sgd,
    "random_forest": random_forest,
}


def _linear(model: Any, features: Any, labels: NDArray[np.int64], link: Link) -> Linear:
    count = int(labels.max()) + 1
    if count == 1:  # scikit-learn refuses a single class; there is nothing to choose either
        return Linear(np.zeros((1, features.shape[1])), np.zeros(1), "softmax")
    model.fit(features, labels)
    weights, bias = np.asarray(model.coef_, np.float64), np.asarray(model.intercept_, np.float64)
    if count == 2:  # one row of scores for the second label; sigmoid(s) = softmax(0, s), for both models
        return Linear(np.vstack([np.zeros_like(weights), weights]), np.append(0.0, bias), "softmax")
    return Linear(weights, bias, link)


def flatten(trees: list[Any]) -> Forest:
    """scikit-learn's trees (``estimator.tree_``) one after the other, leaves pointing at themselves."""
    sizes = [tree.node_count for tree in trees]
    roots = np.cumsum([0, *sizes[:-1]])
    left, right = (
        np.concatenate([_children(getattr(tree, side), root) for tree, root in zip(trees, roots, strict=True)])
        for side in ("children_left", "children_right")
    )
    values = np.concatenate([tree.value[:, 0, :] for tree in trees])
    is_leaf = left == np.arange(len(left))
    return Forest(
        roots=roots.astype(np.int32),
        left=left,
        right=right,
        feature=np.where(is_leaf, 0, np.concatenate([tree.feature for tree in trees])).astype(np.int32),
        threshold=np.where(is_leaf, 0.0, np.concatenate([tree.threshold for tree in trees])),
        shares=values / values.sum(axis=1, keepdims=True),
    )


def _children(local: NDArray[np.int64], root: int) -> NDArray[np.int32]:
    """Global indices of the children; scikit-learn's -1 (none) becomes the node itself."""
    return (root + np.where(local < 0, np.arange(len(local)), local)).astype(np.int32)
