"""From prompts to answers: each prompt is routed by itself, each expert continues its prompts together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from serve.api.backend import Backend, Grown
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
    """

    routes: Sequence[Route]
    requests: Sequence[GenerationRequest]
    prompt_of: Sequence[int]

    @classmethod
    async def of(
        cls, backend: Backend, model: str, routed: Sequence[str], choices: Sequence[Sequence[GenerationRequest]]
    ) -> Work:
        """Route prompts.

        Args:
            backend: that answers.
            model: as the client named it.
            routed: what is routed of each prompt.
            choices: the requests of each prompt.

        Raises:
            RequestError: no such model, or a prompt is refused.
        """
        routes = await backend.route(model, routed)
        flat = [(place, request) for place, group in enumerate(choices) for request in group]
        return cls(routes, [request for _, request in flat], [place for place, _ in flat])

    def route(self, choice: int) -> Route:
        """Of a choice."""
        return self.routes[self.prompt_of[choice]]

    @property
    def model(self) -> str:
        """The expert that answers; "auto" where there are several."""
        experts = {route.expert for route in self.routes}
        return experts.pop() if len(experts) == 1 else "auto"

    def batches(self) -> dict[str, list[int]]:
        """Expert -> its choices."""
        found: dict[str, list[int]] = {}
        for choice in range(len(self.requests)):
            found.setdefault(self.route(choice).expert, []).append(choice)
        return found


async def answers(backend: Backend, work: Work) -> list[Completion]:
    """Of every choice.

    Raises:
        RequestError: one can't be answered, or not in time.
    """
    batches = work.batches()
    # Serve's own time limit can be switched off by a request's header; this one can't.
    try:
        async with asyncio.timeout(backend.deadline_s):
            parts = await asyncio.gather(
                *(
                    backend.generate(expert, [work.requests[choice] for choice in choices], backend.deadline_s)
                    for expert, choices in batches.items()
                )
            )
    except TimeoutError:
        raise _late(backend) from None
    by_choice = {
        choice: done
        for choices, part in zip(batches.values(), parts, strict=True)
        for choice, done in zip(choices, part, strict=True)
    }
    return [by_choice[choice] for choice in range(len(work.requests))]


async def growing(backend: Backend, work: Work) -> AsyncIterator[Grown]:
    """What the choices have grown by, of all experts; whoever closes it gives the answers up.

    Raises:
        RequestError: one can't be answered, or not to its end.
    """
    batches = work.batches()
    places = list(batches.values())
    streams = [
        backend.stream(expert, [work.requests[choice] for choice in choices], backend.deadline_s)
        for expert, choices in batches.items()
    ]
    try:
        async for parts in merged(streams, asyncio.get_running_loop().time() + backend.deadline_s):
            yield [(places[expert][place], delta) for expert, grown in parts for place, delta in grown]
    except TimeoutError:
        raise _late(backend) from None


def _late(backend: Backend) -> DeadlineError:
    return DeadlineError(f"no answer within {backend.deadline_s:g} s", fix="ask for fewer tokens")
