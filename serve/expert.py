"""An expert as a deployment: its engine on a thread of its own, so that the replica's event loop stays free."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from serve.messages import Completion, GenerationRequest


class ExpertReplica:
    """One expert. Batches are computed one after the other; requests that wait are given up at their deadline.

    The single thread is where continuous batching will keep its slots: requests then join the batch at work instead of
    waiting for it.
    """

    def __init__(self, model: Path, device: str = "cpu", threads: int = 1) -> None:
        """Load the engine.

        Args:
            model: Hugging Face folder of the expert.
            device: "cpu" or "cuda".
            threads: compute threads of this process.

        Raises:
            ArtifactError: the model is missing or damaged.
        """
        import torch  # here, not above: whoever deploys this class needs no torch

        from serve.engine import Engine

        torch.set_num_threads(threads)
        self._engine = Engine.load(model, device)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")

    async def generate(self, requests: Sequence[GenerationRequest], seconds: float) -> list[Completion]:
        """Continue each prompt within `seconds` from now, or give up; gives up too when the caller does.

        Raises:
            EmptyPromptError, ContextLengthError, DeadlineError: see :meth:`serve.engine.Engine.generate`.
        """
        deadline = time.monotonic() + seconds
        gone = threading.Event()

        def should_stop() -> bool:
            return gone.is_set() or time.monotonic() > deadline

        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._engine.generate, requests, should_stop)
        finally:
            gone.set()
