"""What each training gets of a cluster or of this machine: slots, workers, CPUs, GPUs, threads, device, strategy.

Arithmetic only: whoever asks says what there is, and Ray is not known here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.config.base import PluginSpec, build
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.errors import ResourceError
from orchestrator.nodes import Cluster


@dataclass(frozen=True)
class Allocation:
    """Shares of a cluster's CPUs and GPUs.

    Attributes:
        slots: trainings at the same time.
        workers: of one training.
        cpus_per_worker, gpus_per_worker: what Ray is asked for, may be fractions.
        threads: compute threads of a training worker.
        cpus: all there are to use.
        device: "cpu" or "cuda".
        strategy: with its options, never "auto".
        micro_batch: most blocks that a worker computes at once; None: whole micro-batches.
    """

    slots: int
    workers: int
    cpus: int
    cpus_per_worker: float
    gpus_per_worker: float
    threads: int
    device: str
    strategy: PluginSpec
    micro_batch: int | None = None


def allocate(
    resources: ResourcesConfig, cpus: float, gpus: float, nodes: Sequence[tuple[float, float]] = ()
) -> Allocation:
    """Divide `cpus` and `gpus`, all that a cluster has, as the recipe says.

    Args:
        resources: of the recipe.
        cpus, gpus: of all nodes.
        nodes: CPUs and GPUs of each; a worker is given no more than a node can give. Empty: there is one.

    Raises:
        ResourceError: GPUs are asked for and there are none, or fewer than one training's workers need.
    """
    cpus = min(cpus, resources.cpus or cpus)
    device = "cuda" if resources.device == "cuda" or (resources.device == "auto" and gpus > 0) else "cpu"
    workers = _workers(resources, int(gpus if device == "cuda" else cpus))
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
    gpu_share = min(1.0, _floor(gpus / (slots * workers))) if device == "cuda" else 0.0
    share = _fitting(_floor(cpus / (slots * workers)), gpu_share, slots * workers, nodes)
    return Allocation(
        slots=slots,
        workers=workers,
        cpus=max(1, int(cpus)),
        cpus_per_worker=int(share) or share,
        gpus_per_worker=gpu_share,
        threads=resources.threads or max(1, int(share)),
        device=device,
        strategy=_strategy(resources, device),
        micro_batch=resources.micro_batch,
    )


def allocate_here(resources: ResourcesConfig, *, by_parts: bool = True) -> Allocation:
    """What this process gives each step without Ray: all CPUs of the machine, or as many as the recipe says.

    Args:
        resources: of the recipe.
        by_parts: the step trains a model of parts (see :func:`for_step`).

    Raises:
        ResourceError: several workers, or a GPU that is not there.
    """
    if resources.workers > 1:
        what = f"{resources.workers} training workers need Ray"
        raise ResourceError(what, "resources.workers", "leave out --local, or set resources.workers=1")
    device = choose_device(resources.device)
    alone = for_step(resources, alone=True, by_parts=by_parts)
    strategy = PluginSpec(type="single") if alone.strategy == "auto" else alone.strategy
    cpus = resources.cpus or os.cpu_count() or 1
    share = alone.model_copy(update={"device": device, "threads": resources.threads or max(1, int(cpus))})
    return replace(allocate(share, cpus, float(device == "cuda")), strategy=strategy)


def expected_here(resources: ResourcesConfig, local: bool) -> tuple[Allocation, Allocation]:
    """What this machine will give each training, and one beside which no other runs; CPUs where GPUs are too few.

    The plan of a recipe for GPUs is of use on a laptop, too.

    Args:
        resources: of the recipe.
        local: run without Ray.

    Raises:
        ResourceError: see :func:`allocate`.
    """
    cpus, there = os.cpu_count() or 1, gpus()
    if resources.device == "cuda" and there < resources.workers:
        resources = resources.model_copy(update={"device": "cpu"})
    alone = allocate(for_step(resources, alone=True, by_parts=True), cpus, there)
    return (alone if local else allocate(resources, cpus, there)), alone


def expected_on(resources: ResourcesConfig, cluster: Cluster) -> tuple[Allocation, Allocation]:
    """What a cluster will give each training, and one beside which no other runs.

    Args:
        resources: of the recipe.
        cluster: its nodes.

    Raises:
        ResourceError: what is asked for can never fit on these nodes.
    """
    largest, where = max((node.cpus for node in cluster.nodes), default=0), f"resources, on {cluster.source}: {cluster}"
    if not largest:
        raise ResourceError("no node of the cluster has CPUs to give", where, "ask another cluster, or add --local")
    if (resources.threads or 0) > largest:
        what = f"{resources.threads} threads a training worker, and the largest node has {largest:g} CPUs"
        raise ResourceError(what, where, f"resources.threads={largest:g}")
    alone = for_step(resources, alone=True, by_parts=True)
    nodes = [(node.cpus, node.gpus) for node in cluster.nodes]
    try:
        found = [allocate(each, cluster.cpus, cluster.gpus, nodes) for each in (resources, alone)]
    except ResourceError as error:
        fix = f"resources.workers={max(1, int(cluster.gpus))}" if cluster.gpus else "resources.device=cpu"
        raise ResourceError(error.what, where, fix) from None
    for share in found:
        places = cluster.places(share.cpus_per_worker, share.gpus_per_worker)
        if places < share.workers:
            each = f"{share.cpus_per_worker:g} CPUs and {share.gpus_per_worker:g} GPUs"
            what = f"{share.workers} training workers with {each} each, and {places} find a place at the same time"
            raise ResourceError(what, where, f"resources.workers={max(1, places)}, or larger nodes")
    return found[0], found[1]


def expected_shares(resources: ResourcesConfig, local: bool, cluster: Cluster | None) -> tuple[Allocation, Allocation]:
    """See :func:`expected_on`; without a cluster :func:`expected_here`."""
    return expected_on(resources, cluster) if cluster else expected_here(resources, local)


def for_step(resources: ResourcesConfig, *, alone: bool, by_parts: bool) -> ResourcesConfig:
    """The resources as one step is given them.

    Args:
        resources: of the recipe.
        alone: no other training runs beside the step, so it has the CPUs of every slot.
        by_parts: the step trains a model of parts; what has none is not trained by a strategy that spreads parts.
    """
    changes: dict[str, object] = {"slots": 1} if alone and resources.slots != 1 else {}
    if not by_parts and spreads_parts(resources):
        changes["strategy"] = "auto"
    return resources.model_copy(update=changes) if changes else resources


def spreads_parts(resources: ResourcesConfig) -> bool:
    """Whether the strategy is only for models of parts; what has none is trained as by default."""
    strategy = resources.strategy
    return strategy != "auto" and bool(getattr(build("training.strategies", strategy), "by_parts", False))


def choose_device(wanted: str) -> str:
    """The device of this process: "cpu" or "cuda".

    Args:
        wanted: "auto", "cpu" or "cuda".

    Raises:
        ResourceError: a GPU is asked for and torch sees none.
    """
    there = gpus() if wanted != "cpu" else 0
    if wanted == "cuda" and not there:
        fix = "mome doctor, or resources.device=cpu"
        raise ResourceError("a GPU was asked for and torch sees none", "resources.device", fix)
    return "cuda" if there else "cpu"


def gpus() -> int:
    """That torch sees in this machine."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _strategy(resources: ResourcesConfig, device: str) -> PluginSpec:
    if isinstance(resources.strategy, PluginSpec):
        return resources.strategy
    return PluginSpec(type="deepspeed" if device == "cuda" or resources.workers > 1 else "single")


def _workers(resources: ResourcesConfig, most: int) -> int:
    """Workers of one training where there are GPUs (or CPUs) for `most`: a divisor, which trains the same batches."""
    least = resources.min_workers or resources.workers
    divisors = [count for count in range(resources.workers, least - 1, -1) if resources.workers % count == 0]
    return next((count for count in divisors if count <= most), resources.workers)


def _fitting(share: float, gpu_share: float, workers: int, nodes: Sequence[tuple[float, float]]) -> float:
    """The share of CPUs, or the largest below it that so many workers can have at once, each on one node."""

    def places(each: int) -> int:
        """Workers that find a place with so many CPUs and their share of GPUs."""
        by_cpus = [(cpus // each, gpus) for cpus, gpus in nodes]
        return sum(int(min(count, gpus // gpu_share) if gpu_share else count) for count, gpus in by_cpus)

    return next((each for each in range(int(share), 0, -1) if places(each) >= workers), share) if nodes else share


def _floor(share: float) -> float:
    """Rounded down to what Ray counts in: ten-thousandths."""
    return max(1, math.floor(share * 10_000)) / 10_000
