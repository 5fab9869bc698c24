"""Steps on Ray: trainings through Ray Train behind our admission, everything else as tasks."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import ray
from ray.exceptions import RayError

from orchestrator.cluster.admission import Admission
from orchestrator.cluster.allocation import Allocation, allocate
from orchestrator.cluster.errors import translate
from orchestrator.cluster.map import RayMap
from orchestrator.cluster.session import data_task, is_own_cluster
from orchestrator.config.base import PluginSpec, build
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.pipeline.local import spreads_parts
from orchestrator.pipeline.memory import MeasuredMap, PeakMemory, Used
from orchestrator.stages.base import Environment, Stage

if TYPE_CHECKING:
    from orchestrator.pipeline.graph import Step

_say = partial(print, flush=True)


class RayRunner:
    """A :class:`orchestrator.pipeline.execute.Runner` over the Ray session in use."""

    def __init__(self, resources: ResourcesConfig, allocation: Allocation | None = None) -> None:
        self._resources, self._given = resources, allocation
        self._lock = threading.Lock()
        self._prepared = False

    @cached_property
    def allocation(self) -> Allocation:
        """What each training gets of the cluster: what was given, or its share of all there is.

        Raises:
            ResourceError: see :func:`orchestrator.cluster.allocation.allocate`.
        """
        return self._given or allocate(self._resources, *cluster_size())

    @property
    def slots(self) -> int:
        """Trainings at the same time."""
        return self.allocation.slots

    @cached_property
    def _admission(self) -> Admission:
        return Admission(self.slots, _say)

    def run(
        self, step: Step, inputs: Mapping[str, Path], out: Path, work: Path, begun: Callable[[], None] = lambda: None
    ) -> Used:
        """Run a step to its end, on whichever node has room; `out` and `work` are on storage that all nodes share.

        Raises:
            ResourceError: too little of something, or a worker was killed. Whatever the stage raises.
        """
        if step.stage.distributed:
            peak = self._train(step, inputs, out, work, begun)
        elif step.stage.accelerated:  # computes as trainings do, so it takes turns with them
            with self._admission.admit(step.name):
                begun()
                peak = self._task(step, inputs, out, work, self._share(step).threads)
        else:
            begun()
            peak = self._task(step, inputs, out, work, self.allocation.cpus)
        return Used(peak, here=is_own_cluster())

    def close(self) -> None:
        """Nothing is left open: the session ends what it started."""

    def _train(self, step: Step, inputs: Mapping[str, Path], out: Path, work: Path, begun: Callable[[], None]) -> int:
        from orchestrator.cluster.trainer import Training, train

        self._prepare()
        with self._admission.admit(step.name):
            begun()
            training = Training(step.stage, inputs, out, work, self._share(step))
            return train(step.name, training, self._resources.max_failures, _say)

    def _share(self, step: Step) -> Allocation:
        resources = self._resources
        if step.alone:
            resources = resources.model_copy(update={"slots": 1})
        if not step.stage.by_parts and spreads_parts(resources):
            resources = resources.model_copy(update={"strategy": "auto"})
        if self._given or resources is self._resources:
            return self.allocation
        return allocate(resources, *cluster_size())

    def _task(self, step: Step, inputs: Mapping[str, Path], out: Path, work: Path, threads: int) -> int:
        allocation = self.allocation
        environment = Environment(
            work=work,
            map=RayMap(allocation.cpus, step.name, data_task()),
            device=allocation.device,
            threads=threads,
        )
        task = _run_stage.options(
            name=step.name,
            num_cpus=0 if is_own_cluster() else 1,
            num_gpus=allocation.gpus_per_worker if step.stage.accelerated else 0,
            max_retries=self._resources.max_failures,
        )
        try:
            return int(ray.get(task.remote(step.stage, dict(inputs), out, environment)))
        except RayError as error:
            raise translate(error, step.name) from None

    def _prepare(self) -> None:
        """Compile, once, what the strategy wants compiled, before workers start that would each wait for it."""
        with self._lock:
            if self._prepared:
                return
            if self.allocation.strategy.type == "deepspeed" and self.allocation.device == "cpu":
                _say("DeepSpeed's CPU op: compiling, once on a machine, about a minute; or taken from the cache")
                try:
                    ray.get(_prepare_strategy.remote(self.allocation.strategy))
                except RayError as error:
                    raise translate(error, "resources.strategy") from None
            self._prepared = True


def cluster_size() -> tuple[float, float]:
    """CPUs and GPUs of the cluster in use."""
    total = ray.cluster_resources()
    return float(total.get("CPU", 1.0)), float(total.get("GPU", 0.0))


@ray.remote  # type: ignore[untyped-decorator]
def _run_stage(stage: Stage, inputs: Mapping[str, Path], out: Path, environment: Environment) -> int:
    """Run it; the memory of this process and of those that took items of its map, in bytes."""
    _clear(out)
    # The cluster's CPUs may be on many machines; the task is on one.
    environment = replace(environment, threads=min(environment.threads, os.cpu_count() or 1))
    if stage.accelerated:
        import torch

        torch.set_num_threads(environment.threads)
    with PeakMemory() as memory:
        stage.run(inputs, out, replace(environment, map=MeasuredMap(environment.map, memory)))
    return memory.bytes


@ray.remote(num_cpus=1)  # type: ignore[untyped-decorator]
def _prepare_strategy(strategy: PluginSpec) -> None:
    from orchestrator.training.strategies._base import prepare

    prepare(build("training.strategies", strategy))


def _clear(folder: Path) -> None:
    """Remove what a killed attempt at this task wrote."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
