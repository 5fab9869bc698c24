"""What a tracker's store has of a run's metrics already: each value goes there once, whatever failed on its way.

A call that failed may have arrived all the same, and a training that goes on takes some steps again. So after a
failure, and of a run that an earlier process began, the store itself is asked what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

Value = tuple[str, float, int]
"""Name of a metric, its value, optimizer step."""


class Sent:
    """The last step of each metric of each run.

    Args:
        ask: the store, for the last step of each metric of a run.
    """

    def __init__(self, ask: Callable[[str], Mapping[str, int]]) -> None:
        self._ask = ask
        self._last: dict[str, dict[str, int]] = {}

    def begin(self, run: str) -> None:
        """A run is new."""
        self._last[run] = {}

    def doubt(self, run: str) -> None:
        """Nobody knows whether the last values have arrived."""
        self._last.pop(run, None)

    def missing(self, run: str, values: Iterable[Value]) -> list[Value]:
        """Those of later steps than the store has. What the store raises."""
        last = self._last.get(run)
        if last is None:
            last = self._last[run] = dict(self._ask(run))
        return [value for value in values if value[2] > last.get(value[0], -1)]

    def note(self, run: str, values: Iterable[Value]) -> None:
        """They have arrived."""
        for name, _, step in values:
            last = self._last[run]
            last[name] = max(step, last.get(name, -1))
