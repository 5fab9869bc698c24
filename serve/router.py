"""Which expert a prompt goes to. Every prompt is routed by itself, where the paper's code routes whole batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import ArtifactError
from orchestrator.routers import Router
from serve.messages import Route
from serve.text import Tokenizer


class PromptRouter:
    """A trained router with its tokenizer, and the experts it may choose from.

    With fewer experts than the router has languages, the most probable of those that are left is chosen. A policy for
    prompts that no expert understands will have its place in :meth:`route`.
    """

    def __init__(self, tokenizer: Path, router: Path, experts: Sequence[str]) -> None:
        """Load both artifacts.

        Raises:
            ArtifactError: one is damaged, or the router knows none of the experts.
        """
        self._tokenizer = Tokenizer(tokenizer)
        self._router = Router.load(router)
        self._columns = {name: column for column, name in enumerate(self._router.languages) if name in experts}
        if not self._columns:
            raise ArtifactError(
                "the router knows none of the experts", str(router), "train the router on their languages"
            )

    def route(self, prompts: Sequence[str]) -> list[Route]:
        """The most probable expert of each prompt, with the router's probability of every language."""
        probabilities = self._router.probabilities([self._tokenizer.encode(prompt) for prompt in prompts])
        routes = []
        for row in probabilities.tolist():
            expert = max(self._columns, key=lambda name: row[self._columns[name]])
            routes.append(Route(expert, dict(zip(self._router.languages, row, strict=True))))
        return routes


class RouterReplica:
    """The router as a deployment: routing runs in a thread, so health checks are answered meanwhile."""

    def __init__(self, tokenizer: Path, router: Path, experts: Sequence[str]) -> None:
        self._router = PromptRouter(tokenizer, router, experts)

    async def route(self, prompts: Sequence[str]) -> list[Route]:
        """See :meth:`PromptRouter.route`."""
        return await asyncio.to_thread(self._router.route, prompts)
