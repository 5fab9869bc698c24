"""Calibrated probabilities by length: a temperature for the languages, a logistic regression for rejection.

Both are piecewise linear in the logarithm of the text's length in characters, fitted on held-out documents. Temperature
scaling: Guo et al., arXiv:1706.04599.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from orchestrator.routers.text.ngrams import LONGEST

if TYPE_CHECKING:  # what runs a router needs numpy alone
    from scipy.sparse import csr_array

KNOTS = (1, 3, 6, 10, 20, 40, 80, 200, LONGEST)
"""Lengths, in characters, at which the parameters are fitted; between them they are interpolated."""
SIGNALS = 6
"""Columns of :func:`signals`."""


@dataclass(frozen=True)
class Calibration:
    """Parameters at the knots.

    Attributes:
        inverse_temperature: float32 [knots].
        rejection: float32 [L, knots, SIGNALS + 1], weights of the signals, and bias, for each language that is best:
            what is typical of other code near Python is not what is typical of other languages near French.
    """

    inverse_temperature: NDArray[np.float32]
    rejection: NDArray[np.float32]

    @classmethod
    def none(cls, languages: int) -> Calibration:
        """Scores as they are, and nothing rejected."""
        return cls(np.ones(len(KNOTS), np.float32), np.zeros((languages, len(KNOTS), SIGNALS + 1), np.float32))

    def temperatures(self) -> NDArray[np.float64]:
        """Inverse temperature by length: float64 [LONGEST + 1]."""
        return np.asarray(_LENGTHS @ self.inverse_temperature, np.float64)

    def rejections(self) -> NDArray[np.float64]:
        """Parameters of rejection by language and length: float64 [L, LONGEST + 1, SIGNALS + 1]."""
        return np.asarray(_LENGTHS @ self.rejection.astype(np.float64), np.float64)


def hats(lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Interpolation weights of the knots for each length: float64 [n, knots], rows sum to 1."""
    at = np.interp(np.log(np.maximum(lengths, 1)), np.log(KNOTS), np.arange(len(KNOTS)))
    return np.asarray(np.maximum(0, 1 - np.abs(at[:, None] - np.arange(len(KNOTS)))), np.float64)


_LENGTHS = hats(np.arange(LONGEST + 1))


def signals(
    scores: NDArray[np.float64], none: NDArray[np.float64], familiar: NDArray[np.float64], known: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What rejection is decided by, float64 [n, SIGNALS].

    The learned score of text of no language (of all its classes together), the best language's score, its lead over the
    second, the mean familiarity of the n-grams, the share of the longest ones that are unseen, and that of known words:
    these also tell languages that were in no training text.

    Args:
        scores: float64 [n, L], of the languages.
        none: float64 [n, classes of text of no language].
        familiar: float64 [n, 2], of n-grams.
        known: float64 [n], of words.
    """
    ordered = np.sort(scores, axis=1)
    best = ordered[:, -1]
    lead = best - (ordered[:, -2] if scores.shape[1] > 1 else 0)
    return np.column_stack([np.log(np.exp(none).sum(axis=1)), best, lead, familiar, known])


def fit_temperature(
    scores: NDArray[np.float64], labels: NDArray[np.int64], lengths: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Inverse temperatures at the knots that maximise the likelihood of held-out labels; 1 for a single language."""
    from scipy.optimize import minimize

    if scores.shape[1] == 1:
        return np.ones(len(KNOTS), np.float32)
    knots, shares = hats(lengths), weights / weights.sum()
    rows = np.arange(len(labels))

    def objective(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = scores * (knots @ values)[:, None]
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        odds /= odds.sum(axis=1, keepdims=True)
        loss = -shares @ np.log(np.maximum(odds[rows, labels], 1e-12))  # finite where an answer is surely wrong
        slope = shares * ((scores * odds).sum(axis=1) - scores[rows, labels])
        smooth = np.diff(values)  # neighbouring knots are drawn together: a length may have few pieces
        pull = np.concatenate([[0.0], smooth]) - np.concatenate([smooth, [0.0]])
        return float(loss + 1e-4 * (smooth**2).sum()), knots.T @ slope + 2e-4 * pull

    found = minimize(objective, np.ones(len(KNOTS)), jac=True, method="L-BFGS-B", bounds=[(0.05, 20.0)] * len(KNOTS))
    return np.asarray(found.x, np.float32)


def fit_rejection(
    found: NDArray[np.float64],
    no_language: NDArray[np.bool_],
    lengths: NDArray[np.int64],
    best: NDArray[np.int64],
    weights: NDArray[np.float64],
    languages: int,
) -> NDArray[np.float32]:
    """Logistic regression of text of no language on the signals, with parameters of each knot and language.

    Those of a language are drawn to the ones that fit all languages together, and are these where it has no examples.

    Args:
        found: float64 [n, SIGNALS].
        no_language: bool [n], what is to be rejected.
        lengths: int64 [n].
        best: int64 [n], the most probable language.
        weights: float64 [n]; both sides are made to weigh the same.
        languages: their number.

    Returns:
        float32 [L, knots, SIGNALS + 1].
    """
    from scipy.sparse import csr_array

    # The penalty is fair to all signals only where each has unit spread; the weights are scaled back at the end.
    mean, spread = found.mean(axis=0), found.std(axis=0) + 1e-6
    columns = np.column_stack([(found - mean) / spread, np.ones(len(found))])
    design = csr_array((hats(lengths)[:, :, None] * columns[:, None]).reshape(len(found), -1))
    sides = [weights[~no_language].sum(), weights[no_language].sum()]
    weights = weights * len(found) / 2 / np.where(no_language, sides[1], sides[0])
    common = _logistic(design, no_language, weights, np.zeros(design.shape[1]))
    own = [_logistic(design[best == i], no_language[best == i], weights[best == i], common) for i in range(languages)]
    coefficients = np.stack(own).reshape(languages, len(KNOTS), SIGNALS + 1)
    slopes = coefficients[..., :SIGNALS] / spread
    return np.asarray(np.dstack([slopes, coefficients[..., SIGNALS] - slopes @ mean]), np.float32)


def _logistic(
    design: csr_array, no_language: NDArray[np.bool_], weights: NDArray[np.float64], prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Coefficients of a logistic regression whose penalty is half the squared distance from `prior`."""
    from scipy.optimize import minimize
    from scipy.special import expit

    def objective(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits, away = design @ values, values - prior
        losses = np.logaddexp(0, logits) - no_language * logits
        slope = design.T @ (weights * (expit(logits) - no_language))
        return float(weights @ losses + 0.5 * away @ away), slope + away

    return np.asarray(minimize(objective, prior, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x, np.float64)
