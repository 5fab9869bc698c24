"""An expert as a deployment: its engine has a thread of its own, so that the replica's event loop stays free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from serve.merging import joined, merged
from serve.messages import Completion, Delta, GenerationRequest


class ExpertReplica:
    """One expert. Requests of all callers are computed together, and given up at their deadlines."""

    def __init__(self, model: Path, device: str = "cpu", threads: int = 1, precision: str = "fp32") -> None:
        """Load the engine.

        Args:
            model: Hugging Face folder of the expert.
            device: "cpu" or "cuda".
            threads: compute threads of this process.
            precision: "fp32", "bf16" or "int8".

        Raises:
            ArtifactError: the model is missing or damaged.
        """
        import torch  # here, not above: whoever deploys this class needs no torch

        from serve.engine import Engine, EngineOptions

        torch.set_num_threads(threads)
        self._engine = Engine.load(model, device, options=EngineOptions(precision=precision))

    async def generate(self, requests: Sequence[GenerationRequest], seconds: float) -> list[Completion]:
        """Continue each prompt within `seconds` from now, or give up; gives up too when the caller does.

        Raises:
            EmptyPromptError, ContextLengthError, DeadlineError: see :meth:`serve.engine.Engine.generate`.
        """
        streams = self._engine.submit(requests, seconds)
        try:
            return list(await asyncio.gather(*(stream.completion() for stream in streams)))
        finally:
            for stream in streams:
                stream.cancel()

    async def stream(
        self, requests: Sequence[GenerationRequest], seconds: float
    ) -> AsyncIterator[list[tuple[int, Delta]]]:
        """The same as it grows: each time, what the answers have grown by, with their places."""
        async for grown in merged(self._engine.submit(requests, seconds)):
            yield joined(grown)

    async def check_health(self) -> None:
        """Asked by Serve every few seconds.

        Raises:
            RuntimeError: the engine's thread has died; Serve starts another replica.
        """
        if not self._engine.healthy:
            raise RuntimeError("the engine's thread has died")
