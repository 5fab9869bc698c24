"""Calibrated probabilities by length: a temperature for the languages, a logistic regression for rejection.

Both are piecewise linear in the logarithm of the text's length in characters, fitted on held-out documents. Temperature
scaling: Guo et al., arXiv:1706.04599.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.routers._ngrams import LONGEST

KNOTS = (1, 3, 6, 10, 20, 40, 80, 200, LONGEST)
"""Lengths, in characters, at which the parameters are fitted; between them they are interpolated."""
SIGNALS = 4
"""Columns of :func:`signals`."""


@dataclass(frozen=True)
class Calibration:
    """Parameters at the knots.

    Attributes:
        inverse_temperature: float32 [knots].
        rejection: float32 [knots, SIGNALS + 1], weights of the signals, and bias.
    """

    inverse_temperature: NDArray[np.float32]
    rejection: NDArray[np.float32]

    @classmethod
    def none(cls) -> Calibration:
        """Scores as they are, and nothing rejected."""
        return cls(np.ones(len(KNOTS), np.float32), np.zeros((len(KNOTS), SIGNALS + 1), np.float32))

    def table(self) -> NDArray[np.float64]:
        """Parameters by length: float64 [LONGEST + 1, 1 + SIGNALS + 1]."""
        parameters = np.column_stack([self.inverse_temperature, self.rejection])
        return np.asarray(hats(np.arange(LONGEST + 1)) @ parameters, np.float64)


def hats(lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Interpolation weights of the knots for each length: float64 [n, knots], rows sum to 1."""
    at = np.interp(np.log(np.maximum(lengths, 1)), np.log(KNOTS), np.arange(len(KNOTS)))
    return np.asarray(np.maximum(0, 1 - np.abs(at[:, None] - np.arange(len(KNOTS)))), np.float64)


def signals(
    scores: NDArray[np.float64], rejected: NDArray[np.float64], known: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What rejection is decided by, float64 [n, SIGNALS].

    The learned score of "none of these", the best language's score, its lead over the second, and the mean familiarity
    of the n-grams, which also knows languages that were in no training text.
    """
    ordered = np.sort(scores, axis=1)
    best = ordered[:, -1]
    lead = best - (ordered[:, -2] if scores.shape[1] > 1 else 0)
    return np.stack([rejected, best, lead, known], axis=1)


def fit_temperature(
    scores: NDArray[np.float64], labels: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Inverse temperatures at the knots that maximise the likelihood of held-out labels; 1 for a single language."""
    from scipy.optimize import minimize

    if scores.shape[1] == 1:
        return np.ones(len(KNOTS), np.float32)
    weights = hats(lengths)
    rows = np.arange(len(labels))

    def objective(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = scores * (weights @ values)[:, None]
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        shares = odds / odds.sum(axis=1, keepdims=True)
        loss = -np.log(np.maximum(shares[rows, labels], 1e-12)).mean()
        slope = (scores * shares).sum(axis=1) - scores[rows, labels]
        smooth = np.diff(values)
        pull = np.concatenate([[0.0], smooth]) - np.concatenate([smooth, [0.0]])
        return float(loss + 1e-4 * (smooth**2).sum()), weights.T @ slope / len(labels) + 2e-4 * pull

    found = minimize(objective, np.ones(len(KNOTS)), jac=True, method="L-BFGS-B", bounds=[(0.05, 20.0)] * len(KNOTS))
    return np.asarray(found.x, np.float32)


def fit_rejection(
    found: NDArray[np.float64], outside: NDArray[np.bool_], lengths: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Logistic regression of "none of these" on the signals, with its own weights at each knot."""
    from sklearn.linear_model import LogisticRegression

    weights = hats(lengths)
    mean, spread = found.mean(axis=0), found.std(axis=0) + 1e-6
    columns = np.column_stack([(found - mean) / spread, np.ones(len(found))])
    design = (weights[:, :, None] * columns[:, None]).reshape(len(found), -1)
    model = LogisticRegression(C=1.0, max_iter=500, fit_intercept=False, class_weight="balanced").fit(design, outside)
    coefficients = model.coef_.reshape(len(KNOTS), SIGNALS + 1)
    slopes = coefficients[:, :SIGNALS] / spread
    return np.asarray(np.column_stack([slopes, coefficients[:, SIGNALS] - slopes @ mean]), np.float32)
