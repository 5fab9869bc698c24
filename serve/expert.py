"""An expert as a deployment: its engine has a thread of its own, so that the replica's event loop stays free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from serve.deployments.attending import attend
from serve.deployments.lines import Where
from serve.merging import joined, merged
from serve.messages import Completion, Delta, GenerationRequest, Statistics


class ExpertReplica:
    """One expert. Requests of all callers are computed together, and given up at their deadlines."""

    def __init__(
        self,
        model: Path | Mapping[str, Path],
        device: str = "cpu",
        threads: int = 1,
        precision: str = "fp32",
        options: Mapping[str, Any] | None = None,
        coalesce_s: float = 0.0,
    ) -> None:
        """Load the engine.

        Args:
            model: Hugging Face folder of the expert; of several that answer together, theirs by their names.
            device: "cpu" or "cuda".
            threads: compute threads of this process.
            precision: "fp32", "bf16" or "int8".
            options: other fields of :class:`serve.engine.EngineOptions`.
            coalesce_s: seconds between two pieces of a stream at least, its first and its last one apart.

        Raises:
            ArtifactError: the model is missing or damaged. RequestError: experts can't be mixed.
        """
        import torch  # here, not above: whoever deploys this class needs no torch

        from serve.engine import Engine, EngineOptions

        torch.set_num_threads(threads)
        sizes = EngineOptions(precision=precision, **(options or {}))
        if isinstance(model, Mapping):
            parts = {name: Engine.load(folder, device, options=sizes) for name, folder in model.items()}
            self._engine = Engine.mixed(parts, sizes)
        else:
            self._engine = Engine.load(model, device, options=sizes)
        self._coalesce_s = coalesce_s

    async def generate(self, requests: Sequence[GenerationRequest], seconds: float) -> list[Completion]:
        """Continue each prompt within `seconds` from now, or give up; gives up too when the caller does.

        Raises:
            RequestError: see :meth:`serve.engine.Engine.generate`.
        """
        streams = self._engine.submit(requests, seconds)
        try:
            return list(await asyncio.gather(*(stream.completion() for stream in streams)))
        finally:
            for stream in streams:
                stream.cancel()

    async def attend(self, where: Where) -> None:
        """Answer an ingress's requests over a connection to it, see :mod:`serve.deployments.lines`."""
        await attend(where, self)

    async def stream(
        self, requests: Sequence[GenerationRequest], seconds: float
    ) -> AsyncIterator[list[tuple[int, Delta]]]:
        """The same as it grows: each time, what the answers have grown by, with their places."""
        streams = self._engine.submit(requests, seconds)
        try:
            if len(streams) == 1:  # without a task and a queue of its own
                async for delta in streams[0].deltas(self._coalesce_s):
                    yield [(0, delta)]
                return
            async with aclosing(merged([stream.deltas(self._coalesce_s) for stream in streams])) as parts:  # type: ignore[type-var]
                async for grown in parts:
                    yield joined(grown)
        finally:
            for stream in streams:
                stream.cancel()

    async def statistics(self) -> Statistics:
        """What the engine does and has done."""
        return self._engine.statistics

    async def check_health(self) -> None:
        """Asked by Serve every few seconds.

        Raises:
            RuntimeError: the engine's thread has died; Serve starts another replica.
        """
        if not self._engine.healthy:
            raise RuntimeError("the engine's thread has died")

    def __del__(self) -> None:
        """Serve ends the replica, after what was at work has finished."""
        if (engine := getattr(self, "_engine", None)) is not None:
            engine.close()
