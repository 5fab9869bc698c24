"""Which expert a prompt goes to. Every prompt is routed by itself, where the paper's code routes whole batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from orchestrator.config.routing import COMMON
from orchestrator.routers import NONE, Choice, Chooser
from serve.errors import RejectedPromptError
from serve.messages import ALONE, AUTO, SOFT, Explanation, Route, RouteReason
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

    def route(self, prompts: Sequence[str], model: str = AUTO) -> list[Route]:
        """The expert of each prompt, with the router's probability of every language, and of "none" where it can tell.

        Args:
            prompts: texts.
            model: "auto"; "auto:no-common": as if there were no common expert; "soft": all experts together.

        Raises:
            RejectedPromptError: a prompt is of no language that an expert knows, and the policy is to refuse it.
        """
        choices = self._chooser.choose(prompts)
        found = []
        for place, choice in enumerate(choices):
            expert = choice.expert or self._refused(choice, place, len(choices))
            reason: RouteReason = "rejected" if choice.label == NONE else "routed"
            if model == SOFT:
                route = Route(SOFT, choice.probabilities, "mixed", weights=self._weights(choice))
            elif model == ALONE:
                route = Route(self._besides_common(choice, expert), choice.probabilities, reason, common=False)
            else:
                route = Route(expert, choice.probabilities, reason)
            found.append(route)
        return found

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

    def _besides_common(self, choice: Choice, expert: str) -> str:
        others = [name for name in choice.probabilities if name in self._chooser.experts]
        return max(others, key=choice.probabilities.__getitem__) if expert == COMMON else expert

    def _weights(self, choice: Choice) -> dict[str, float]:
        """What speaks for no language speaks for the common expert, where text of no language goes to it."""
        names = {**choice.probabilities, COMMON: choice.probabilities.get(NONE, 0.0)}
        return {name: names[name] for name in self._chooser.experts if name in names}

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

    async def route(self, prompts: Sequence[str], model: str = AUTO) -> list[Route]:
        """See :meth:`PromptRouter.route`."""
        return await asyncio.to_thread(self._router.route, prompts, model)

    async def explain(self, texts: Sequence[str]) -> list[Explanation]:
        """See :meth:`PromptRouter.explain`."""
        return await asyncio.to_thread(self._router.explain, texts)

    async def tokenize(self, text: str, special: bool = False, begin: bool = False) -> list[int]:
        """See :meth:`serve.text.Tokenizer.encode`."""
        return self._router.tokenizer.encode(text, special, begin)

    async def detokenize(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """See :meth:`serve.text.Tokenizer.decode`."""
        return [self._router.tokenizer.decode(tokens) for tokens in sequences]
