"""Experts as a deployment: each engine has a thread of its own, so that the replica's event loop stays free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.processes import large_imports
from serve.deployments.attending import attend
from serve.deployments.lines import Where
from serve.merging import joined, merged
from serve.messages import SOFT, Completion, Delta, GenerationRequest, Statistics

if TYPE_CHECKING:
    from serve.engine import Engine


class ExpertReplica:
    """One expert, or several in one process. Requests of all callers are computed together, and given up at their
    deadlines.

    Several answer each for itself, by its name, or all together, as "soft".
    """

    def __init__(
        self,
        model: Path | Mapping[str, Path],
        device: str = "cpu",
        threads: int = 1,
        precision: str = "fp32",
        options: Mapping[str, Any] | None = None,
        coalesce_s: float = 0.0,
    ) -> None:
        """Load the engines.

        Args:
            model: Hugging Face folder of the expert; of several, theirs by their names. One alone has the name "".
            device: "cpu" or "cuda".
            threads: compute threads of this process.
            precision: "fp32", "bf16" or "int8".
            options: other fields of :class:`serve.engine.EngineOptions`.
            coalesce_s: seconds between two pieces of all streams at least; the first and the last one of each come at
                once.

        Raises:
            ArtifactError: a model is missing or damaged.
        """
        with large_imports():
            import torch  # here, not above: whoever deploys this class needs no torch

            from serve.engine import Engine, EngineOptions, Pace

        torch.set_num_threads(threads)
        sizes = EngineOptions(precision=precision, **(options or {}))
        folders = model if isinstance(model, Mapping) else {"": model}
        self._engines = {name: Engine.load(folder, device, options=sizes) for name, folder in folders.items()}
        self._mix = partial(Engine.mixed, dict(self._engines), sizes)
        self._pace = Pace(coalesce_s)

    async def generate(
        self, requests: Sequence[GenerationRequest], seconds: float, expert: str = ""
    ) -> list[Completion]:
        """Continue each prompt within `seconds` from now, or give up; gives up too when the caller does.

        Raises:
            RequestError: see :meth:`serve.engine.Engine.generate`; or the experts can't be mixed.
        """
        streams = self._engine(expert).submit(requests, seconds)
        try:
            return list(await asyncio.gather(*(stream.completion() for stream in streams)))
        finally:
            for stream in streams:
                stream.cancel()

    async def attend(self, where: Where, expert: str = "") -> None:
        """Answer an ingress's requests to one expert over a connection to it, see :mod:`serve.deployments.lines`."""
        await attend(where, partial(self.generate, expert=expert), partial(self.stream, expert=expert))

    async def stream(
        self, requests: Sequence[GenerationRequest], seconds: float, expert: str = ""
    ) -> AsyncIterator[list[tuple[int, Delta]]]:
        """The same as it grows: each time, what the answers have grown by, with their places."""
        streams = self._engine(expert).submit(requests, seconds)
        try:
            if len(streams) == 1:  # without a task and a queue of its own
                async for delta in streams[0].deltas(self._pace):
                    yield [(0, delta)]
                return
            async with aclosing(merged([stream.deltas(self._pace) for stream in streams])) as parts:  # type: ignore[type-var]
                async for grown in parts:
                    yield joined(grown)
        finally:
            for stream in streams:
                stream.cancel()

    async def statistics(self, expert: str = "") -> Statistics:
        """What an engine does and has done."""
        return self._engine(expert).statistics

    async def check_health(self) -> None:
        """Asked by Serve every few seconds.

        Raises:
            RuntimeError: an engine's thread has died; Serve starts another replica.
        """
        if not all(engine.healthy for engine in self._engines.values()):
            raise RuntimeError("the engine's thread has died")

    def _engine(self, expert: str) -> Engine:
        if expert == SOFT and SOFT not in self._engines:
            self._engines[SOFT] = self._mix()
        return self._engines[expert]

    def __del__(self) -> None:
        """Serve ends the replica, after what was at work has finished."""
        for engine in getattr(self, "_engines", {}).values():
            engine.close()
