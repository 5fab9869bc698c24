"""The ordered, bounded parallel map over Ray tasks: what stages see as `env.map` on a cluster."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError

from orchestrator.cluster.errors import translate

Item = TypeVar("Item")
Result = TypeVar("Result")
_IN_FLIGHT_PER_WORKER = 3


@dataclass(frozen=True)
class RayMap:
    """Maps over tasks of one CPU each. With one worker, or one item, no task is started.

    Attributes:
        workers: tasks that run at the same time. step: named in errors.
    """

    workers: int
    step: str = ""

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
        shared = ray.put(function)  # pickled once, not with every item
        pending: deque[ray.ObjectRef[Any]] = deque()
        try:
            for item in itertools.chain(head, iterator):
                pending.append(_apply.remote(shared, item))
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
            raise translate(error, self.step) from None


@ray.remote(num_cpus=1, max_retries=2)  # type: ignore[untyped-decorator]
def _apply(function: Callable[[Any], Any], item: Any) -> Any:
    return function(item)
