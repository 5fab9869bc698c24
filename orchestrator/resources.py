"""What each training gets of a cluster: slots, workers, CPUs, GPUs, threads, strategy. Arithmetic only, no Ray."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.errors import ResourceError


@dataclass(frozen=True)
class Allocation:
    """Shares of a cluster's CPUs and GPUs.

    Attributes:
        slots: trainings at the same time. workers: of one training.
        cpus_per_worker, gpus_per_worker: what Ray is asked for, may be fractions.
        threads: compute threads of a training worker. cpus: all there are to use.
        device: "cpu" or "cuda". strategy: with its options, never "auto".
    """

    slots: int
    workers: int
    cpus: int
    cpus_per_worker: float
    gpus_per_worker: float
    threads: int
    device: str
    strategy: PluginSpec


def allocate(
    resources: ResourcesConfig, cpus: float, gpus: float, nodes: Sequence[tuple[float, float]] = ()
) -> Allocation:
    """Divide `cpus` and `gpus`, all that a cluster has, as the recipe says.

    Args:
        resources: of the recipe. cpus, gpus: of all nodes.
        nodes: CPUs and GPUs of each; a worker is given no more than a node can give. Empty: there is one.

    Raises:
        ResourceError: GPUs are asked for and there are none, or fewer than one training's workers need.
    """
    cpus = min(cpus, resources.cpus or cpus)
    device = "cuda" if resources.device == "cuda" or (resources.device == "auto" and gpus > 0) else "cpu"
    workers = resources.workers
    if device == "cuda" and gpus < (workers if workers > 1 else 1):
        raise ResourceError(
            f"{workers} training worker{'s' * (workers > 1)} on GPUs asked for, and the cluster has {gpus:g} GPUs",
            "resources.device, resources.workers",
            "mome doctor, resources.device=cpu, or fewer workers",
        )
    fitting = max(1, int((gpus if device == "cuda" else cpus) // workers))
    slots = resources.slots or fitting
    if device == "cuda" and workers > 1:
        slots = min(
            slots, fitting
        )  # workers of one training can't share a GPU; a single worker may, with other trainings
    share = _floor(cpus / (slots * workers))
    share = _fitting(share, slots * workers, [node[0] for node in nodes if device == "cpu" or node[1] > 0])
    return Allocation(
        slots=slots,
        workers=workers,
        cpus=max(1, int(cpus)),
        cpus_per_worker=int(share) or share,
        gpus_per_worker=min(1.0, _floor(gpus / (slots * workers))) if device == "cuda" else 0.0,
        threads=resources.threads or max(1, int(share)),
        device=device,
        strategy=_strategy(resources, device),
    )


def _strategy(resources: ResourcesConfig, device: str) -> PluginSpec:
    if isinstance(resources.strategy, PluginSpec):
        return resources.strategy
    return PluginSpec(type="deepspeed" if device == "cuda" or resources.workers > 1 else "single")


def _fitting(share: float, workers: int, nodes: Sequence[float]) -> float:
    """The share, or the largest below it that so many workers can have at once, each on one node."""
    fitting = (each for each in range(int(share), 0, -1) if sum(cpus // each for cpus in nodes) >= workers)
    return next(fitting, share) if nodes else share


def _floor(share: float) -> float:
    """Rounded down to what Ray counts in: ten-thousandths."""
    return max(1, math.floor(share * 10_000)) / 10_000
