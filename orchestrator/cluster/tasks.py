"""Ray tasks of a run: a stage that needs one process, and what is looked at or prepared on a node before."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import ray

from orchestrator.cluster.away import AtHand, Away, at_hand
from orchestrator.cluster.map import RayMap
from orchestrator.cluster.sending import sendable
from orchestrator.cluster.shared import check_shared, clear
from orchestrator.config.base import PluginSpec, build
from orchestrator.environment import Environment
from orchestrator.memory import MeasuredMap, PeakMemory
from orchestrator.stages.base import Stage


@ray.remote  # type: ignore[untyped-decorator]
def look(folder: Path) -> None:
    """Make sure that this node sees a folder of the run.

    Raises:
        ResourceError: it does not, or may not write to it.
    """
    check_shared(folder)


@ray.remote  # type: ignore[untyped-decorator]
def run_stage(
    stage: Stage, inputs: Mapping[str, Path], out: Path, environment: Environment, away: Away | None = None
) -> int:
    """Run a stage; the memory of this process and of those that took items of its map, in bytes.

    Raises:
        ResourceError: the node does not see the run's folder, or lacks something. Whatever the stage raises.
    """
    if away is None:
        check_shared(out)
        clear(out)
        return _measured(stage, AtHand(dict(inputs), out, environment.work), environment)
    if isinstance(environment.map, RayMap):
        environment = replace(environment, map=environment.map.on_this_node(), tell=away.tell)
    with sendable(), at_hand(away) as at:
        return _measured(stage, at, environment)


def _measured(stage: Stage, at: AtHand, environment: Environment) -> int:
    # The cluster's CPUs may be on many machines; the task is on one.
    environment = replace(
        environment, work=at.work, keep=at.keep, threads=min(environment.threads, os.cpu_count() or 1)
    )
    if stage.accelerated:
        import torch

        torch.set_num_threads(environment.threads)
    with sendable(), PeakMemory() as memory:
        stage.run(at.inputs, at.out, replace(environment, map=MeasuredMap(environment.map, memory)))
    return memory.bytes


@ray.remote(num_cpus=1)  # type: ignore[untyped-decorator]
def prepare_strategy(strategy: PluginSpec) -> None:
    """Have a strategy do what it wants done once on a machine."""
    from orchestrator.training.strategies._base import prepare

    prepare(build("training.strategies", strategy))
