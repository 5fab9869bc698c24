"""A run's mixture behind HTTP in this process alone: no Ray, an engine an expert, loaded when it is first asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence

from serve.api.backend import Grown
from serve.files import unknown_model
from serve.merging import joined, merged
from serve.messages import AUTO, Completion, GenerationRequest, Route, Statistics
from serve.mixture import Mixture


class LocalBackend:
    """The :class:`serve.api.Backend` over a mixture in this process."""

    def __init__(self, mixture: Mixture, deadline_s: float = 60.0) -> None:
        self._mixture = mixture
        self.experts: Sequence[str] = tuple(mixture.files.experts)
        self.version = mixture.files.version
        self.started, self.deadline_s = int(time.time()), deadline_s

    async def route(self, model: str, prompts: Sequence[str]) -> list[Route]:
        """See :meth:`serve.api.Backend.route`."""
        if model == AUTO:
            return await asyncio.to_thread(self._mixture.router.route, prompts)
        if model not in self.experts:
            raise unknown_model(model, self._mixture.files.experts)
        return [Route(model)] * len(prompts)

    async def generate(self, expert: str, requests: Sequence[GenerationRequest], seconds: float) -> list[Completion]:
        """See :meth:`serve.api.Backend.generate`."""
        engine = await asyncio.to_thread(self._mixture.engine, expert)
        streams = engine.submit(requests, seconds)
        try:
            return list(await asyncio.gather(*(stream.completion() for stream in streams)))
        finally:
            for stream in streams:
                stream.cancel()

    async def stream(self, expert: str, requests: Sequence[GenerationRequest], seconds: float) -> AsyncIterator[Grown]:
        """See :meth:`serve.api.Backend.stream`."""
        engine = await asyncio.to_thread(self._mixture.engine, expert)
        async for grown in merged(engine.submit(requests, seconds)):
            yield joined(grown)

    async def tokenize(self, text: str) -> list[int]:
        """See :meth:`serve.api.Backend.tokenize`."""
        return self._mixture.tokenizer.encode(text)

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """See :meth:`serve.api.Backend.detokenize`."""
        return self._mixture.tokenizer.decode(tokens)

    async def ready(self) -> bool:
        """See :meth:`serve.api.Backend.ready`."""
        return all(engine.healthy for engine in self._mixture.engines.values())

    async def statistics(self) -> Mapping[str, Sequence[Statistics]]:
        """See :meth:`serve.api.Backend.statistics`."""
        return {name: [engine.statistics] for name, engine in self._mixture.engines.items()}
