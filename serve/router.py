"""Which expert a prompt goes to. Every prompt is routed by itself, where the paper's code routes whole batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from orchestrator.routers import NONE, Choice, Chooser
from serve.errors import RejectedPromptError
from serve.messages import Explanation, Route
from serve.text import Tokenizer


class PromptRouter:
    """A trained router with its tokenizer, and the experts it may choose from."""

    def __init__(self, tokenizer: Path, router: Path, experts: Sequence[str]) -> None:
        """Load both artifacts.

        Raises:
            ArtifactError: one is damaged, the router knows none of the experts, or rejects go to a common expert that
                is not there.
        """
        self.tokenizer = Tokenizer(tokenizer)
        encode = self.tokenizer.encode
        self._chooser = Chooser(router, lambda texts: [encode(text) for text in texts], experts)

    def route(self, prompts: Sequence[str]) -> list[Route]:
        """The expert of each prompt, with the router's probability of every language, and of "none" where it can tell.

        Raises:
            RejectedPromptError: a prompt is of no language that an expert knows, and the policy is to refuse it.
        """
        choices = self._chooser.choose(prompts)
        return [
            Route(
                choice.expert or self._refused(choice, place, len(choices)),
                choice.probabilities,
                "rejected" if choice.label == NONE else "routed",
            )
            for place, choice in enumerate(choices)
        ]

    def explain(self, texts: Sequence[str]) -> list[Explanation]:
        """What the router says of each text; none is refused."""
        found = []
        for text, choice in zip(texts, self._chooser.choose(texts), strict=True):
            spans, reasons = self._chooser.explain(text, choice)
            parts = tuple((span.begin, span.end, span.label) for span in spans)
            rejected = choice.label == NONE
            found.append(
                Explanation(choice.expert, choice.label, rejected, choice.probabilities, parts, tuple(reasons))
            )
        return found

    def _refused(self, choice: Choice, place: int, count: int) -> str:
        which = "the prompt" if count == 1 else f"prompt {place + 1} of {count}"
        raise RejectedPromptError(
            f"{which} is in no language that an expert knows ({choice.rejected:.0%} sure)",
            fix=f"name a model to have it answered all the same: {', '.join(self._chooser.experts)}",
        )


class RouterReplica:
    """The router as a deployment: routing runs in a thread, so health checks are answered meanwhile."""

    def __init__(self, tokenizer: Path, router: Path, experts: Sequence[str]) -> None:
        self._router = PromptRouter(tokenizer, router, experts)

    async def route(self, prompts: Sequence[str]) -> list[Route]:
        """See :meth:`PromptRouter.route`."""
        return await asyncio.to_thread(self._router.route, prompts)

    async def explain(self, texts: Sequence[str]) -> list[Explanation]:
        """See :meth:`PromptRouter.explain`."""
        return await asyncio.to_thread(self._router.explain, texts)

    async def tokenize(self, text: str, special: bool = False, begin: bool = False) -> list[int]:
        """See :meth:`serve.text.Tokenizer.encode`."""
        return self._router.tokenizer.encode(text, special, begin)

    async def detokenize(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """See :meth:`serve.text.Tokenizer.decode`."""
        return [self._router.tokenizer.decode(tokens) for tokens in sequences]
