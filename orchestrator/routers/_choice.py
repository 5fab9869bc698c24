"""Which expert a text goes to: the one place that decides it, for `mome route`, `mome generate` and the endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.config.routing import COMMON
from orchestrator.errors import ArtifactError
from orchestrator.routers._loading import load_router
from orchestrator.routers._router import Policy
from orchestrator.routers.text.router import TextRouter
from orchestrator.routers.text.spans import NONE, Span, spans

Encode = Callable[[Sequence[str]], Sequence[ArrayLike]]
"""Texts to their token ids, without special ones: what the paper's routers read."""
_CLOSE = 1e-9
"""Nearer to a border, a text is asked for alone: in a batch the last digits of a probability may differ."""


@dataclass(frozen=True)
class Choice:
    """Where a text goes.

    Attributes:
        label: the most probable language of all that the router knows, or NONE where the text is rejected.
        expert: who answers; None: the recipe's policy is to refuse it.
        rejected: probability of NONE, text of no language.
        probabilities: of each language, and of NONE where the router can tell.
    """

    label: str
    expert: str | None
    rejected: float
    probabilities: Mapping[str, float]


class Chooser:
    """A stored router with its recipe's policy, and the experts that it may choose from.

    With fewer experts than the router has languages, the most probable of those that are left is chosen; the first of
    equally probable ones, in the router's order. What happens to text of no language is the recipe's
    policy (`router.reject`); where it names an expert that is not among these, the most probable one takes it.

    Attributes:
        router, policy: what was loaded.
        experts: what may be chosen.
    """

    def __init__(self, folder: Path, encode: Encode, experts: Sequence[str] | None = None) -> None:
        """Load a router.

        Args:
            folder: its artifact.
            encode: asked for the tokens of texts where it reads tokens.
            experts: names, COMMON among them where there is a common expert; None: all that the router may name.

        Raises:
            ArtifactError: it is damaged, it knows none of the experts, or rejects go to a common expert that is not
                there.
        """
        self.router, self.policy = load_router(folder), Policy.of(folder)
        self._encode = encode
        self.experts = (*self.router.languages, COMMON) if experts is None else tuple(experts)
        self._columns = [column for column, name in enumerate(self.router.languages) if name in self.experts]
        if not self._columns:
            raise ArtifactError(
                "the router knows none of the experts", str(folder), "train the router on their languages"
            )
        if self.policy.reject == COMMON and COMMON not in self.experts:
            raise ArtifactError(
                "the router sends text of no language to the common expert, and this mixture has none",
                str(folder),
                "set router.reject to best, error or one of: " + ", ".join(self.experts),
            )

    def choose(self, texts: Sequence[str]) -> list[Choice]:
        """Where each text goes, whatever is asked for beside it."""
        languages, rejected = self._route(texts)
        close = np.flatnonzero(self._close(languages, rejected)).tolist() if len(texts) > 1 else []
        for row in close:
            alone = self._route([texts[row]])
            languages[row], rejected[row] = alone[0][0], alone[1][0]
        return list(map(self._choice, languages.tolist(), rejected.tolist()))

    def explain(self, text: str, choice: Choice) -> tuple[list[Span], list[tuple[str, float]]]:
        """Why a text goes where it goes: its parts, where there are several, and what speaks for the best language.

        Args:
            text: what was routed.
            choice: of it.

        Returns:
            Spans; and n-grams with their weights, the strongest first. Both are empty where the router reads tokens.
        """
        if not isinstance(self.router, TextRouter):
            return [], []
        best = max(self.router.languages, key=choice.probabilities.__getitem__)
        found = spans(self.router, text)
        return found if len(found) > 1 else [], self.router.reasons(text, best)

    def _route(self, texts: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Probabilities of the languages, given that it is one of them, [n, L], and of text of no language, [n]."""
        if isinstance(self.router, TextRouter):
            return self.router.route(texts)
        tokens = self._encode(texts)
        return self.router.probabilities(tokens), self.router.rejection(tokens)

    def _close(self, languages: NDArray[np.float64], rejected: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Texts at the border of rejection, or of two languages: bool [n]."""
        border = np.abs(rejected - self.policy.reject_above) < _CLOSE
        for some in (languages, languages[:, self._columns]):
            if some.shape[1] > 1:
                border |= -np.diff(np.sort(some, axis=1)[:, -2:], axis=1)[:, 0] > -_CLOSE
        return np.asarray(border, np.bool_)

    def _choice(self, row: list[float], rejected: float) -> Choice:
        names = self.router.languages
        best = names[max(self._columns, key=row.__getitem__)]
        label = NONE if self.policy.rejects(rejected) else names[row.index(max(row))]
        expert = self.policy.expert(best, rejected)
        shares = {name: share * (1 - rejected) for name, share in zip(names, row, strict=True)}
        if isinstance(self.router, TextRouter):
            shares[NONE] = rejected
        return Choice(label, best if expert not in (None, *self.experts) else expert, rejected, shares)
