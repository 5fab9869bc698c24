"""A stage on workers of Ray Train: the same on every one, restarted from its own checkpoints when a worker dies."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig

from orchestrator.cluster.errors import WorkerDiedError, translate
from orchestrator.cluster.groups import removed_after_death
from orchestrator.cluster.lean import Group, make_trainer
from orchestrator.cluster.retries import Retries
from orchestrator.cluster.sending import sendable
from orchestrator.cluster.session import is_own_cluster
from orchestrator.cluster.training import Training, get_ready, memory_of, work
from orchestrator.errors import OutOfMemoryError, StoppedEarlyError
from orchestrator.resources import Allocation

Fit = Callable[[str, Training], None]


def train(
    name: str,
    training: Training,
    retries: Retries,
    say: Callable[[str], None],
    again: Callable[[Training], Training],
    fit: Fit | None = None,
) -> int:
    """Run a stage to its end, and say what memory its workers took, in bytes.

    A stage's own error ends it at once: a restart would only meet it again.

    Args:
        name: of the step.
        training: what its workers do.
        retries: what the training may meet.
        say: is told of restarts.
        again: waits until there is room for another attempt, and says what its workers get of what is there then.
        fit: has workers do it, once; None: workers of its own do.

    Raises:
        WorkerDiedError: workers died too often. StoppedEarlyError: it was stopped. Whatever the stage raises.
    """
    while True:
        try:
            (fit or fit_alone)(name, training)
        except (ray.train.TrainingFailedError, RayError, WorkerDiedError, OutOfMemoryError) as error:
            if training.stopped:
                raise StoppedEarlyError("the training was stopped", name) from None
            told = retries.spend(translate(error, name))
            say(f"{name}: {told}{' from the last checkpoint' if training.stage.distributed else ''}")
            training = again(training)
            most = retries.micro_batch or training.allocation.micro_batch
            training = replace(training, allocation=replace(training.allocation, micro_batch=most))
        else:
            break
    return sum(memory_of(training, rank) for rank in range(training.allocation.workers))


def fit_alone(name: str, training: Training) -> None:
    """Have workers do a training that are started for it and end with it.

    Raises:
        TrainingFailedError, RayError: a worker died, or its stage failed.
    """
    config = {"training": ray.put(training)}  # by reference: the controller imports nothing of ours
    begin_fit(name, run_worker, config, training.allocation, training.work / "ray")()


def begin_fit(
    name: str, function: Callable[..., None], config: Mapping[str, Any], allocation: Allocation, storage: Path
) -> Callable[[], object]:
    """What runs `function` with `config` in Ray Train workers of an allocation, when it is called.

    `storage` is for Ray Train's own state, which nothing is read from: our loop resumes from its own checkpoints.
    """
    shutil.rmtree(storage, ignore_errors=True)
    worker = {"CPU": allocation.cpus_per_worker, "GPU": allocation.gpus_per_worker}
    trainer = make_trainer(
        function,
        group=_group(allocation),
        train_loop_config={**config, "watched": not is_own_cluster()},
        scaling_config=ScalingConfig(
            num_workers=allocation.workers, use_gpu=worker["GPU"] > 0, resources_per_worker=worker
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            # We try again ourselves, with what is there then.
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0, max_preemption_failures=0),
        ),
    )

    def fit() -> object:
        with removed_after_death():
            return trainer.fit()

    return fit


def _group(allocation: Allocation) -> Group:
    if allocation.device == "cpu":
        return "told" if allocation.workers > 1 else "none"
    return "joined" if allocation.workers > 1 or allocation.strategy.type != "single" else "none"


def run_worker(config: Mapping[str, Any]) -> None:
    """The train function: run the stage of a training."""
    context = ray.train.get_context()
    with sendable():
        get_ready()
        leaving = _is_leaving if config["watched"] else None
        work(ray.get(config["training"]), context.get_world_rank(), context.get_world_size(), leaving)


def _is_leaving() -> bool:
    return ray.train.get_preemption_info() is not None
