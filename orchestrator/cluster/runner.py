"""Steps on Ray: trainings through Ray Train behind our admission, everything else as tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.cluster.admission import Admission
from orchestrator.cluster.away import METRICS, Away
from orchestrator.cluster.errors import WorkerDiedError, translate
from orchestrator.cluster.map import RayMap
from orchestrator.cluster.retries import Retries
from orchestrator.cluster.room import room
from orchestrator.cluster.session import data_task, is_own_cluster, own_folder
from orchestrator.cluster.storage import Storage
from orchestrator.cluster.tasks import look, prepare_strategy, run_stage
from orchestrator.cluster.there import cluster_nodes, cluster_size, working_nodes
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.environment import Environment
from orchestrator.memory import Used
from orchestrator.resources import Allocation, allocate, for_step

if TYPE_CHECKING:
    from orchestrator.cluster.standing import StandingWorkers
    from orchestrator.pipeline.graph import Step


class RayRunner:
    """A :class:`orchestrator.pipeline.runner.Runner` over the Ray session in use.

    Args:
        resources: of the recipe.
        allocation: what each training gets; None: its share of the cluster.
        say: takes a line.
        ranks: by step, how early it goes (:meth:`orchestrator.cluster.admission.Admission.admit`); others come last.
        run: its name, for other runs of the cluster.
    """

    def __init__(
        self,
        resources: ResourcesConfig,
        allocation: Allocation | None = None,
        say: Callable[[str], None] = partial(print, flush=True),
        ranks: Mapping[str, float] = {},
        run: str = "a run",
    ) -> None:
        self._resources, self._given, self._say = resources, allocation, say
        self._ranks, self._run = ranks, run
        self._preparing, self._opening = threading.Lock(), threading.Lock()
        self._prepared = self._checked = self._over = False
        self._queue: Admission | None = None
        self._standing: StandingWorkers | None = None
        self._storage: Storage | None = None
        self._stopped: set[str] = set()
        self._ends: dict[str, Callable[[], None]] = {}  # of what is at work

    @cached_property
    def allocation(self) -> Allocation:
        """What each training gets of the cluster: what was given, or its share of all there is.

        Raises:
            ResourceError: see :func:`orchestrator.resources.allocate`.
        """
        return self._given or allocate(self._resources, *cluster_size(), cluster_nodes())

    @property
    def slots(self) -> int:
        """Trainings at the same time."""
        return self.allocation.slots

    @property
    def _admission(self) -> Admission:
        with self._opening:  # steps begin in threads, and have one queue
            self._queue = self._queue or Admission(self.slots, self._say)
            return self._queue

    def expect(self, steps: Sequence[Step]) -> None:
        """Let as many workers get ready as `steps` can use at the same time: they import torch meanwhile."""
        trainings = [step for step in steps if step.stage.distributed]
        if trainings and (workers := self._standing_workers(self._share(trainings[0]), leave=False)):
            workers.get_ready(1 if all(step.alone for step in trainings) else min(self.slots, len(trainings)))

    def run(
        self, step: Step, inputs: Mapping[str, Path], out: Path, work: Path, begun: Callable[[], None] = lambda: None
    ) -> Used:
        """Run a step to its end, on whichever node has room; `out` and `work` are on storage that all nodes share.

        Raises:
            ResourceError: too little of something, or a worker was killed. Whatever the stage raises.
        """
        self._stopped.discard(step.name)  # an earlier plan's
        self._check_nodes(out)
        if step.stage.distributed or step.stage.accelerated:  # they take turns
            peak = self._compute(step, inputs, out, work, begun)
        else:
            begun()
            peak = self._task(step, inputs, out, work, self.allocation.cpus)
        return Used(peak, here=is_own_cluster())

    def stop(self, name: str) -> None:
        """Let a step end: send it away from the queue, end its training or its task."""
        self._stopped.add(name)
        self._admission.dismiss(name)
        if end := self._ends.get(name):
            end()

    def close(self) -> None:
        """Let standing workers end; the session ends everything else that it started.

        Steps that are at work then, after Ctrl-C, meet dead workers: nothing is said of that.
        """
        self._over = True
        if self._standing is not None:
            self._standing.end()

    def _leave(self) -> None:
        if self._standing is not None:
            self._standing.close()

    def _compute(self, step: Step, inputs: Mapping[str, Path], out: Path, work: Path, begun: Callable[[], None]) -> int:
        """Run a step in workers of Ray Train, or in a task where it needs only one process and none stands ready."""
        from orchestrator.cluster.trainer import train
        from orchestrator.cluster.training import Training

        if step.stage.distributed and not _has_trained(work):
            self._prepare()
        with self._admission.admit(step.name, alone=step.alone, rank=self._ranks.get(step.name, 0.0)):
            share = self._share(step)
            started = step.stage.distributed or self._standing is not None
            workers = self._standing_workers(share, leave=step.stage.distributed) if started else None
            if not (step.stage.distributed or workers):
                begun()
                return self._task(step, inputs, out, work, share.threads)
            stopped = partial(self._stopped.__contains__, step.name)
            with (
                room(step.name, self._run, self._resources.priority, self._say, stopped) as take,
                self._carried(inputs, out, work) as attempt,
            ):
                take(share)
                if not workers:
                    begun()

                def again(before: Training) -> Training:
                    there = self._share(step)  # nodes may have gone, or come
                    take(there)
                    return replace(before, allocation=there, away=attempt())

                training = Training(step.stage, inputs, out, work, share, attempt())
                training.begin()
                self._ends_by(step.name, training.stop)
                fit = partial(workers.fit, begun=begun) if workers else None
                return train(step.name, training, Retries(self._resources.max_failures), self._tell, again, fit)

    @contextmanager
    def _carried(self, inputs: Mapping[str, Path], out: Path, work: Path) -> Iterator[Callable[[], Away | None]]:
        """What an attempt's workers need to know where their nodes do not see the run's folder; elsewhere None."""
        if self._resources.storage is None or is_own_cluster():
            yield lambda: None
            return
        with self._opening:
            self._storage = self._storage or Storage(self._resources.storage, self._run)
        with self._storage.carried(inputs, out, work) as attempt:
            yield attempt

    def _tell(self, line: str) -> None:
        if not self._over:
            self._say(line)

    def _standing_workers(self, share: Allocation, *, leave: bool) -> StandingWorkers | None:
        """Workers that stand ready for a step with this share, if they can.

        Args:
            share: of the step.
            leave: where they can't, they leave: they hold CPUs that this step's own workers need.
        """
        from orchestrator.cluster.standing import StandingWorkers, can_stand

        folder = own_folder()
        if folder is None or not can_stand(share):
            if leave:
                self._leave()
            return None
        allocation = self.allocation
        with self._opening:
            self._standing = self._standing or StandingWorkers(folder, allocation)
            return self._standing

    def _check_nodes(self, out: Path) -> None:
        """Find out, once and before any work is done, that a node can't see the run's folder.

        Raises:
            ResourceError: one can't.
        """
        with self._opening:
            if self._checked or self._resources.storage is not None:
                return
            nodes = working_nodes()
            if len(nodes) > 1:
                pinned = (NodeAffinitySchedulingStrategy(node, soft=False) for node in sorted(nodes))
                looks = [look.options(num_cpus=0, scheduling_strategy=strategy).remote(out) for strategy in pinned]
                for looking in looks:
                    try:
                        ray.get(looking)
                    except RayError as error:
                        cause = translate(error, "nodes of the cluster")
                        if not isinstance(cause, WorkerDiedError):  # else the node has just gone
                            raise cause from None
            self._checked = True

    def _ends_by(self, name: str, end: Callable[[], None]) -> None:
        """Know how to stop a step that is at work now; it may have been stopped a moment ago."""
        self._ends[name] = end
        if name in self._stopped:
            end()

    def _share(self, step: Step) -> Allocation:
        resources = for_step(self._resources, alone=step.alone, by_parts=step.stage.by_parts)
        return self._given or allocate(resources, *cluster_size(), cluster_nodes())

    def _task(self, step: Step, inputs: Mapping[str, Path], out: Path, work: Path, threads: int) -> int:
        allocation = self.allocation
        environment = Environment(
            work=work,
            map=RayMap(allocation.cpus, step.name, data_task()),
            device=allocation.device,
            threads=threads,
            teacher_weights=self._resources.teacher_weights,
        )
        task = run_stage.options(
            name=step.name,
            num_cpus=0 if is_own_cluster() else 1,
            num_gpus=allocation.gpus_per_worker if step.stage.accelerated else 0,
            max_retries=self._resources.max_failures,
        )
        try:
            with self._carried(inputs, out, work) as attempt:
                running = task.remote(step.stage, dict(inputs), out, environment, attempt())
                self._ends_by(step.name, partial(ray.cancel, running, force=True))
                return int(ray.get(running))
        except RayError as error:
            raise translate(error, step.name) from None

    def _prepare(self) -> None:
        """Compile, once, what the strategy wants compiled, before workers start that would each wait for it."""
        with self._preparing:
            if self._prepared:
                return
            if self.allocation.strategy.type == "deepspeed" and self.allocation.device == "cpu":
                self._say("DeepSpeed's CPU op: compiling, once on a machine, about a minute; or taken from the cache")
                try:
                    ray.get(prepare_strategy.remote(self.allocation.strategy))
                except RayError as error:
                    raise translate(error, "resources.strategy") from None
            self._prepared = True


def _has_trained(work: Path) -> bool:
    """Whether a training goes on: then its strategy is compiled, or its workers see to it on a machine that is new."""
    metrics = work / METRICS
    return metrics.exists() and metrics.stat().st_size > 0
