"""Which expert a prompt goes to. Every prompt is routed by itself, where the paper's code routes whole batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from orchestrator.config.routing import COMMON
from orchestrator.errors import ArtifactError
from orchestrator.routers import NONE, Policy, Router, TextRouter
from serve.errors import RejectedPromptError
from serve.messages import Route
from serve.text import Tokenizer


class PromptRouter:
    """A trained router with its tokenizer, and the experts it may choose from.

    With fewer experts than the router has languages, the most probable of those that are left is chosen. What happens
    to text that is of none of the languages is the recipe's policy (`router.reject`); where it names an expert that is
    not among these, the most probable one takes it.
    """

    def __init__(self, tokenizer: Path, router: Path, experts: Sequence[str]) -> None:
        """Load both artifacts.

        Raises:
            ArtifactError: one is damaged, the router knows none of the experts, or rejects go to a common expert that
                is not there.
        """
        self._tokenizer = Tokenizer(tokenizer)
        self._router = Router.load(router)
        self._policy = Policy.of(router)
        self._experts = tuple(experts)
        self._columns = {name: column for column, name in enumerate(self._router.languages) if name in experts}
        if not self._columns:
            raise ArtifactError(
                "the router knows none of the experts", str(router), "train the router on their languages"
            )
        if self._policy.reject == COMMON and COMMON not in experts:
            raise ArtifactError(
                "the router sends rejected text to the common expert, and this mixture has none",
                str(router),
                "set router.reject to best, error or one of: " + ", ".join(experts),
            )

    def route(self, prompts: Sequence[str]) -> list[Route]:
        """The expert of each prompt, with the router's probability of every language, and of "none" where it can tell.

        Raises:
            RejectedPromptError: a prompt is of no language that an expert knows, and the policy is to refuse it.
        """
        if not isinstance(self._router, TextRouter):
            tokens = [self._tokenizer.encode(prompt) for prompt in prompts]
            return [Route(self._best(row), self._named(row)) for row in self._router.probabilities(tokens).tolist()]
        found = self._router.route(prompts)
        rejected: list[float] = found.rejected.tolist()
        rows: list[list[float]] = (found.languages * (1 - found.rejected[:, None])).tolist()
        experts = [self._policy.expert(self._best(row), none) for row, none in zip(rows, rejected, strict=True)]
        self._check(experts, rejected)
        return [
            Route(expert if expert in self._experts else self._best(row), self._named(row) | {NONE: none})
            for expert, row, none in zip(experts, rows, rejected, strict=True)
        ]

    def _check(self, experts: Sequence[str | None], rejected: Sequence[float]) -> None:
        """Refuse the prompts where one of them is refused.

        Raises:
            RejectedPromptError: one is.
        """
        for place, expert in enumerate(experts):
            if expert is None:
                which = "the prompt" if len(experts) == 1 else f"prompt {place + 1} of {len(experts)}"
                raise RejectedPromptError(
                    f"{which} is in no language that an expert knows ({rejected[place]:.0%} sure)",
                    fix=f"name a model to have it answered all the same: {', '.join(self._experts)}",
                )

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
