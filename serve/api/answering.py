"""From prompts to answers: each prompt is routed by itself, each expert continues its prompts together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from serve.api.backend import Backend, Grown
from serve.api.record import Record
from serve.errors import DeadlineError
from serve.merging import merged
from serve.messages import Completion, GenerationRequest, Route


@dataclass(frozen=True)
class Work:
    """Choices of one request, in the order in which they are answered.

    Attributes:
        routes: of each prompt.
        requests: of each choice; those of a prompt lie together.
        prompt_of: which prompt each choice is of.
        version: of the mixture.
    """

    routes: Sequence[Route]
    requests: Sequence[GenerationRequest]
    prompt_of: Sequence[int]
    version: str

    @classmethod
    async def of(
        cls,
        backend: Backend,
        record: Record,
        model: str,
        routed: Sequence[str | tuple[int, ...]],
        choices: Sequence[Sequence[GenerationRequest]],
    ) -> Work:
        """Route prompts.

        Args:
            backend: that answers.
            record: of the request.
            model: as the client named it.
            routed: what is routed of each prompt; of token ids, their text.
            choices: the requests of each prompt.

        Raises:
            RequestError: no such model, or a prompt is refused.
        """
        sequences = [text for text in routed if not isinstance(text, str)]
        async with in_time(backend):
            read = iter(await backend.detokenize(sequences) if sequences else ())
            texts = [text if isinstance(text, str) else next(read) for text in routed]
            record.asked(model, texts)
            routes = await backend.route(model, texts)
        flat = [(place, routes[place].asked(each)) for place, group in enumerate(choices) for each in group]
        version = routes[0].version or backend.version
        record.routed(routes, version)
        return cls(routes, [request for _, request in flat], [place for place, _ in flat], version)

    def route(self, choice: int) -> Route:
        """Of a choice."""
        return self.routes[self.prompt_of[choice]]

    @property
    def model(self) -> str:
        """The expert that answers; "auto" where there are several."""
        experts = {route.expert for route in self.routes}
        return experts.pop() if len(experts) == 1 else "auto"

    @property
    def headers(self) -> dict[str, str]:
        """Which experts answer, and of which version."""
        experts = dict.fromkeys(route.expert for route in self.routes)
        said = {"x-mome-expert": ", ".join(experts), "x-mome-version": self.version}
        return {name: text.encode("ascii", "backslashreplace").decode() for name, text in said.items()}

    def told(self, prompt: int = 0) -> dict[str, Any]:
        """The route of a prompt, as :class:`serve.api.schemas.RouteInfo`."""
        route = self.routes[prompt]
        return {
            "expert": route.expert,
            "reason": route.reason,
            "probability": route.probability,
            "probabilities": None if route.probabilities is None else dict(route.probabilities),
            "version": route.version or self.version,
        }

    def batches(self) -> dict[str, list[int]]:
        """Expert -> its choices."""
        found: dict[str, list[int]] = {}
        for choice in range(len(self.requests)):
            found.setdefault(self.route(choice).expert, []).append(choice)
        return found


async def answers(backend: Backend, work: Work, record: Record) -> list[Completion]:
    """Of every choice.

    Raises:
        RequestError: one can't be answered, or not in time.
    """
    batches = work.batches()
    async with in_time(backend):
        parts = await asyncio.gather(
            *(
                backend.generate(expert, [work.requests[choice] for choice in choices], backend.deadline_s)
                for expert, choices in batches.items()
            )
        )
    by_choice = dict[int, Completion]()
    for (expert, choices), part in zip(batches.items(), parts, strict=True):
        by_choice.update(zip(choices, part, strict=True))
        for choice, done in zip(choices, part, strict=True):
            record.read(expert, work.prompt_of[choice], done.prompt_tokens)
            record.wrote(expert, done.completion_tokens)
    return [by_choice[choice] for choice in range(len(work.requests))]


async def growing(backend: Backend, work: Work, record: Record) -> AsyncIterator[Grown]:
    """What the choices have grown by, of all experts; whoever closes it gives the answers up.

    Raises:
        RequestError: one can't be answered, or not to its end.
    """
    batches = work.batches()
    names, places = list(batches), list(batches.values())
    streams = [
        backend.stream(expert, [work.requests[choice] for choice in choices], backend.deadline_s)
        for expert, choices in batches.items()
    ]
    async with aclosing(_together(streams)) as grown:  # type: ignore[type-var]
        async for source, parts in grown:
            record.grew(names[source], sum(len(delta.tokens) for _, delta in parts))
            found = [(places[source][place], delta) for place, delta in parts]
            for choice, delta in found:
                if delta.finish_reason:
                    record.read(names[source], work.prompt_of[choice], delta.prompt_tokens)
            yield found


async def _together(streams: Sequence[AsyncIterator[Grown]]) -> AsyncIterator[tuple[int, Grown]]:
    """Each with the place of its stream. One alone is read without a task of its own: that is half the cost."""
    if len(streams) == 1:
        async with aclosing(streams[0]) as stream:  # type: ignore[type-var]
            async for grown in stream:
                yield 0, grown
        return
    async with aclosing(merged(streams)) as parts:  # type: ignore[type-var]
        async for part in parts:
            for item in part:
                yield item


@asynccontextmanager
async def in_time(backend: Backend) -> AsyncIterator[None]:
    """What is done in the block is given up at the deadline. Serve's own limit can be lifted by a request's header.

    Raises:
        DeadlineError: it was.
    """
    try:
        async with asyncio.timeout(backend.deadline_s):
            yield
    except TimeoutError:
        raise late(backend) from None


def late(backend: Backend) -> DeadlineError:
    """What a client is told whose answer took too long."""
    return DeadlineError(f"no answer within {backend.deadline_s:g} s", fix="ask for fewer tokens")
