"""What a tracker's store has of a run's metrics already: each value goes there once, whatever failed on its way.

A call that failed may have arrived all the same, or arrive later, and a training that goes on takes some steps again.
So of a step that comes twice the first value counts. After a failure, and of a run that an earlier process began, the
store itself is asked what it has. What may still be on its way is sent with the value and time that it had, and MLflow
takes both for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

Value = tuple[str, float, int]
"""Name of a metric, its value, optimizer step."""

Point = tuple[str, float, int, int]
"""The same with when it was first sent, in milliseconds since 1970."""


class Sent:
    """The last step of each metric of each run.

    Args:
        ask: the store, for the last step of each metric of a run.
    """

    def __init__(self, ask: Callable[[str], Mapping[str, int]]) -> None:
        self._ask = ask
        self._last: dict[str, dict[str, int]] = {}
        self._unsure: dict[str, dict[tuple[str, int], Point]] = {}

    def begin(self, run: str) -> None:
        """A run is new."""
        self._last[run] = {}

    def doubt(self, run: str, points: Iterable[Point]) -> None:
        """Nobody knows whether they have arrived."""
        self._last.pop(run, None)
        unsure = self._unsure.setdefault(run, {})
        for point in points:
            unsure.setdefault((point[0], point[2]), point)

    def missing(self, run: str, values: Iterable[Value], now: int) -> list[Point]:
        """Those of later steps than the store has, one of a step. What the store raises."""
        last = self._last.get(run)
        if last is None:
            last = self._last[run] = dict(self._ask(run))
        unsure, points = self._unsure.get(run, {}), dict[tuple[str, int], Point]()
        for name, value, step in values:
            if step > last.get(name, -1):
                points.setdefault((name, step), unsure.get((name, step), (name, value, step, now)))
        return list(points.values())

    def note(self, run: str, points: Iterable[Point]) -> None:
        """They have arrived."""
        last, unsure = self._last[run], self._unsure.get(run, {})
        for name, _, step, _ in points:
            last[name] = max(step, last.get(name, -1))
            unsure.pop((name, step), None)
