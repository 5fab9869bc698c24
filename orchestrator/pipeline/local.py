"""Steps without Ray: one at a time in this process, data work in worker processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.config.recipe import ResourcesConfig
from orchestrator.environment import Stoppable
from orchestrator.memory import MeasuredMap, PeakMemory, Used
from orchestrator.pipeline.graph import Step
from orchestrator.processes import ProcessMap
from orchestrator.resources import allocate_here


class LocalRunner:
    """Runs each step in this process. Needs none of ray, deepspeed, mlflow and datasets."""

    def __init__(self, resources: ResourcesConfig) -> None:
        self._resources = resources
        self._lock = threading.Lock()
        self._stopped: set[str] = set()
        self._map = ProcessMap(int(resources.cpus or os.cpu_count() or 1))

    @property
    def slots(self) -> int:
        """Steps run one at a time."""
        return 1

    def expect(self, steps: Sequence[Step]) -> None:
        """Nothing needs to get ready."""

    def run(
        self, step: Step, inputs: Mapping[str, Path], out: Path, work: Path, begun: Callable[[], None] = lambda: None
    ) -> Used:
        """Run a step; others wait their turn.

        Raises:
            ResourceError: GPUs or several workers asked for and not to be had here. Whatever the stage raises.
        """
        import torch

        self._stopped.discard(step.name)  # an earlier plan's
        with self._lock:
            begun()
            share = allocate_here(self._resources, by_parts=step.stage.by_parts)
            torch.set_num_threads(share.threads)
            environment = Stoppable(
                work=work,
                map=self._map,
                device=share.device,
                threads=share.threads,
                strategy=share.strategy,
                micro_batch=share.micro_batch,
                teacher_weights=self._resources.teacher_weights,
                is_stopped=lambda: step.name in self._stopped,
            )
            with PeakMemory() as memory:
                step.stage.run(inputs, out, replace(environment, map=MeasuredMap(self._map, memory)))
        return Used(memory.bytes, here=True)

    def stop(self, name: str) -> None:
        """Let a step end at its next metrics; one that waits is not let in by who started it."""
        self._stopped.add(name)

    def close(self) -> None:
        """End the worker processes."""
        self._map.close()
