"""Which expert a prompt goes to. Every prompt is routed by itself, where the paper's code routes whole batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from orchestrator.config.routing import BEST, ERROR
from orchestrator.errors import ArtifactError
from orchestrator.routers import Policy, Router, TextRouter
from serve.errors import RejectedPromptError
from serve.messages import Route
from serve.text import Tokenizer

NONE = "none"
"""Stands for "none of the languages" among a route's probabilities."""


class PromptRouter:
    """A trained router with its tokenizer, and the experts it may choose from.

    With fewer experts than the router has languages, the most probable of those that are left is chosen. What happens
    to text that is of none of the languages is the recipe's policy (`router.reject`).
    """

    def __init__(self, tokenizer: Path, router: Path, experts: Sequence[str]) -> None:
        """Load both artifacts.

        Raises:
            ArtifactError: one is damaged, the router knows none of the experts, or rejects go to one that is missing.
        """
        self._tokenizer = Tokenizer(tokenizer)
        self._router = Router.load(router)
        self._policy = Policy.of(router)
        self._columns = {name: column for column, name in enumerate(self._router.languages) if name in experts}
        if not self._columns:
            raise ArtifactError(
                "the router knows none of the experts", str(router), "train the router on their languages"
            )
        if self._policy.reject not in (BEST, ERROR, *experts):
            raise ArtifactError(
                f"the router sends rejected text to {self._policy.reject!r}, which is no expert of this mixture",
                str(router),
                "set router.reject to best, error or one of: " + ", ".join(experts),
            )

    def route(self, prompts: Sequence[str]) -> list[Route]:
        """The expert of each prompt, with the router's probability of every language, and of "none" where it can tell.

        Raises:
            RejectedPromptError: a prompt is of no language that an expert knows, and the policy is to refuse it.
        """
        if not isinstance(self._router, TextRouter):
            rows = self._router.probabilities([self._tokenizer.encode(prompt) for prompt in prompts])
            return [Route(self._best(row), self._named(row)) for row in rows.tolist()]
        found = self._router.route(prompts)
        return [
            Route(self._expert(row, rejected), self._named([p * (1 - rejected) for p in row]) | {NONE: rejected})
            for row, rejected in zip(found.languages.tolist(), found.rejected.tolist(), strict=True)
        ]

    def _expert(self, row: list[float], rejected: float) -> str:
        if rejected <= self._policy.reject_above or self._policy.reject == BEST:
            return self._best(row)
        if self._policy.reject == ERROR:
            known = ", ".join(self._columns)
            raise RejectedPromptError(
                f"the prompt is in no language that an expert knows ({rejected:.0%} sure)", fix=f"name a model: {known}"
            )
        return self._policy.reject

    def _best(self, row: list[float]) -> str:
        return max(self._columns, key=lambda name: row[self._columns[name]])

    def _named(self, row: list[float]) -> dict[str, float]:
        return dict(zip(self._router.languages, row, strict=True))


class RouterReplica:
    """The router as a deployment: routing runs in a thread, so health checks are answered meanwhile."""

    def __init__(self, tokenizer: Path, router: Path, experts: Sequence[str]) -> None:
        self._router = PromptRouter(tokenizer, router, experts)

    async def route(self, prompts: Sequence[str]) -> list[Route]:
        """See :meth:`PromptRouter.route`."""
        return await asyncio.to_thread(self._router.route, prompts)
