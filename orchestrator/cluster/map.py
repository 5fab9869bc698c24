"""The ordered, bounded parallel map over Ray tasks: what stages see as `env.map` on a cluster."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.cluster.sending import sendable

Item = TypeVar("Item")
Result = TypeVar("Result")
_IN_FLIGHT_PER_WORKER = 3


@dataclass(frozen=True)
class RayMap:
    """Maps over Ray tasks. With one worker, or one item, no task is started.

    Attributes:
        workers: tasks that run at the same time.
        step: named in errors.
        options: of each task, its resources.
    """

    workers: int
    step: str = ""
    options: Mapping[str, Any] = field(default_factory=lambda: {"num_cpus": 1})

    def on_this_node(self) -> RayMap:
        """The same, whose tasks run on the node of the caller: items name files that no other one has."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        return replace(self, options={**self.options, "scheduling_strategy": here})

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order of the items; at most a few items a worker are in flight.

        Raises:
            ResourceError: a task's process was killed again and again. Whatever `function` raises.
        """
        iterator = iter(items)
        head = list(itertools.islice(iterator, 2))
        if len(head) < 2 or self.workers == 1:
            yield from map(function, itertools.chain(head, iterator))
            return
        task = _apply.options(**self.options)
        shared = ray.put(function)  # pickled once, not with every item
        pending: deque[ray.ObjectRef[Any]] = deque()
        try:
            for item in itertools.chain(head, iterator):
                pending.append(task.remote(shared, item))
                if len(pending) >= _IN_FLIGHT_PER_WORKER * self.workers:
                    yield self._get(pending.popleft())
            while pending:
                yield self._get(pending.popleft())
        finally:
            for reference in pending:
                ray.cancel(reference)

    def _get(self, reference: Any) -> Any:
        try:
            return ray.get(reference)
        except RayError as error:
            from orchestrator.cluster.errors import translate  # imports Ray Train, which tasks do without

            raise translate(error, self.step) from None


@ray.remote(max_retries=2)  # type: ignore[untyped-decorator]
def _apply(function: Callable[[Any], Any], item: Any) -> Any:
    with sendable():
        return function(item)
