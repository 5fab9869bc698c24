"""The queue in front of the training slots, without Ray and without waiting."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import pytest

from orchestrator.cluster.admission import Admission
from orchestrator.errors import StoppedEarlyError


@dataclass
class Crowd:
    """Trainings that come one after the other, and leave when they are told to."""

    admission: Admission
    inside: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    sent_away: list[str] = field(default_factory=list)
    _leaving: dict[str, threading.Event] = field(default_factory=dict)
    _threads: dict[str, threading.Thread] = field(default_factory=dict)

    def come(self, name: str, alone: bool = False, rank: float = 0.0) -> None:
        """Join the queue; returns when the training is in it, or inside."""
        waiting = len(self.admission._queue)
        self._leaving[name] = threading.Event()
        self._threads[name] = threading.Thread(target=self._train, args=(name, alone, rank))
        self._threads[name].start()
        until(lambda: name in self.inside or len(self.admission._queue) > waiting)

    def leave(self, name: str) -> None:
        """End a training, and wait until whoever can enter has entered."""
        self._leaving[name].set()
        self._threads[name].join(5)
        until(lambda: not self.admission._queue or not self.admission._may_enter(self.admission._queue[0]))

    def sees(self, *names: str) -> bool:
        """Whether just these are inside, in a moment."""
        until(lambda: sorted(self.inside) == sorted(names))
        return True

    def _train(self, name: str, alone: bool, rank: float) -> None:
        try:
            with self.admission.admit(name, alone=alone, rank=rank):
                self.order.append(name)
                self.inside.append(name)
                self._leaving[name].wait(5)
                self.inside.remove(name)
        except StoppedEarlyError:
            self.sent_away.append(name)


def until(true: object) -> None:
    assert callable(true)
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def quiet(slots: int) -> Crowd:
    return Crowd(Admission(slots, lambda line: None))


def test_no_more_than_the_slots_and_in_the_order_of_arrival() -> None:
    lines: list[str] = []
    crowd = Crowd(Admission(2, lines.append))
    names = [f"expert-{i}" for i in range(6)]
    for name in names:
        crowd.come(name)
    for i, name in enumerate(names):
        assert crowd.sees(*names[i : i + 2])
        crowd.leave(name)
    assert crowd.order == names
    assert "expert-2: queued, 2 of 2 slots are in use" in lines
    assert "expert-0: running in slot 1 of 2" in lines


def test_whose_chain_of_work_is_longest_goes_first() -> None:
    crowd = quiet(1)
    crowd.come("first")
    for name, rank in (("short", 1.0), ("long", 9.0), ("middle", 5.0), ("another", 5.0)):
        crowd.come(name, rank=rank)
    for name in ("first", "long", "middle", "another", "short"):
        assert crowd.sees(name)
        crowd.leave(name)
    assert crowd.order == ["first", "long", "middle", "another", "short"]


def test_who_runs_alone_waits_for_all_and_nobody_starts_beside_it() -> None:
    lines: list[str] = []
    crowd = Crowd(Admission(3, lines.append))
    crowd.come("first")
    crowd.come("second")
    crowd.come("teacher", alone=True)
    crowd.come("third")  # a slot is free, but not its turn: or who waits to be alone would wait for ever
    assert crowd.sees("first", "second")
    crowd.leave("first")
    assert crowd.sees("second")
    crowd.leave("second")
    assert crowd.sees("teacher")
    crowd.come("fourth")
    assert crowd.sees("teacher")
    crowd.leave("teacher")
    assert crowd.sees("third", "fourth")
    crowd.leave("third")
    crowd.leave("fourth")
    assert crowd.order == ["first", "second", "teacher", "third", "fourth"]
    assert "teacher: queued, 2 of 3 slots are in use, and it runs alone" in lines
    assert "teacher: running alone" in lines


def test_two_that_run_alone_run_one_after_the_other() -> None:
    crowd = quiet(2)
    for name in ("one", "two"):
        crowd.come(name, alone=True)
    assert crowd.sees("one")
    crowd.leave("one")
    assert crowd.sees("two")
    crowd.leave("two")


def test_who_is_sent_away_makes_room_for_the_next() -> None:
    crowd = quiet(2)
    crowd.come("expert")
    crowd.come("teacher", alone=True)
    crowd.come("other")
    assert crowd.sees("expert")
    crowd.admission.dismiss("teacher")
    assert crowd.sees("expert", "other")
    crowd.admission.dismiss("expert")  # is inside, and stays
    assert crowd.sees("expert", "other")
    crowd.leave("expert")
    crowd.leave("other")
    assert crowd.sent_away == ["teacher"]


@pytest.mark.parametrize("alone", [False, True])
def test_a_slot_is_given_back_when_its_training_fails(alone: bool) -> None:
    admission = Admission(2, lambda line: None)
    with pytest.raises(ValueError, match="no"), admission.admit("first", alone=alone):
        raise ValueError("no")
    with admission.admit("second", alone=True):
        pass
