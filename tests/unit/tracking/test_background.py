"""Events reach an observer in order, late if need be, and never hold up who sends them."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.tracking.background import Background, merged


class Recorder:
    """Notes every event; fails while `down`."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.down = False

    def __getattr__(self, name: str) -> Any:
        def note(*arguments: Any) -> None:
            if self.down:
                raise ConnectionError("refused\nat length")
            self.events.append((name, *arguments))

        return note


def test_events_arrive_in_order_and_the_queue_is_emptied_at_the_end() -> None:
    recorder, lines = Recorder(), []
    tracker = Background(lambda: recorder, "store", lines.append)
    tracker.started("corpus")
    tracker.finished("corpus", {"seconds": 1}, Path("x"))
    tracker.failed("teacher", ValueError("no"))
    tracker.close(None)
    assert [event[0] for event in recorder.events] == ["started", "finished", "failed", "close"]
    assert lines == []


def test_a_dead_server_is_told_once_and_costs_no_time() -> None:
    lines: list[str] = []

    def never_there() -> Recorder:
        raise OSError("refused")

    tracker = Background(never_there, "http://server", lines.append, retry_seconds=0.01)
    begin = time.perf_counter()
    tracker.started("corpus")
    for step in range(1000):
        tracker.metrics("corpus", [{"step": step}])
    assert time.perf_counter() - begin < 5
    tracker.close(None)
    assert len(lines) == 2
    assert "http://server can't be written to (refused); the run goes on without it" in lines[0]
    assert "did not come back" in lines[1]


def test_what_happened_in_an_outage_is_written_after_it() -> None:
    recorder, lines = Recorder(), []
    tracker = Background(lambda: recorder, "store", lines.append, retry_seconds=0.01, rest_seconds=0)
    tracker.started("teacher")
    _until(lambda: recorder.events)
    recorder.down = True
    tracker.metrics("teacher", [{"step": 1}])
    _until(lambda: lines)
    recorder.down = False
    tracker.close(None)
    assert recorder.events == [("started", "teacher"), ("metrics", "teacher", [{"step": 1}]), ("close", None)]
    assert lines[-1] == "tracking: store is back"


def test_a_server_that_was_there_is_waited_for_at_the_end() -> None:
    recorder, lines = Recorder(), []
    tracker = Background(lambda: recorder, "store", lines.append, retry_seconds=0.01, rest_seconds=0, patience=5)
    tracker.started("teacher")
    _until(lambda: recorder.events)
    recorder.down = True
    threading.Timer(0.5, setattr, (recorder, "down", False)).start()
    tracker.metrics("teacher", [{"step": 1}])
    tracker.close(None)
    assert [event[0] for event in recorder.events] == ["started", "metrics", "close"]
    assert lines[-1] == "tracking: store is back"


def test_a_server_that_hangs_is_left_alone() -> None:
    hang, lines = threading.Event(), []
    tracker = Background(lambda: hang.wait(30), "store", lines.append, patience=0.05)  # type: ignore[arg-type, return-value]
    tracker.started("corpus")
    tracker.close(None)
    hang.set()
    assert "too slow" in lines[0]


@pytest.mark.parametrize("second", ["a", "b"])
def test_neighbouring_metrics_of_a_step_become_one_call(second: str) -> None:
    events = [("started", ("a",)), ("metrics", ("a", [1])), ("metrics", (second, [2])), ("metrics", ("a", [3]))]
    together = merged([*events, ("finished", ("a", {}, Path())), ("metrics", (second, [4]))])
    rows = {"a": [("metrics", ("a", [1, 2, 3]))], "b": [("metrics", ("a", [1, 3])), ("metrics", ("b", [2]))]}[second]
    assert together == [events[0], *rows, ("finished", ("a", {}, Path())), ("metrics", (second, [4]))]


def _until(condition: Any) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
