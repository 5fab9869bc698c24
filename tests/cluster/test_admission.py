"""The queue in front of the training slots, without Ray."""

from __future__ import annotations

import threading
import time

import pytest

from orchestrator.cluster.admission import Admission


def test_no_more_than_the_slots_and_in_the_order_of_arrival() -> None:
    lines: list[str] = []
    admission, inside, most, order = Admission(2, lines.append), 0, 0, []
    lock = threading.Lock()

    def work(name: str) -> None:
        nonlocal inside, most
        with admission.admit(name):
            with lock:
                inside, order[len(order) :] = inside + 1, [name]
                most = max(most, inside)
            time.sleep(0.02)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work, args=(f"expert-{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
        time.sleep(0.002)
    for thread in threads:
        thread.join(5)
    assert most == 2
    assert order == [f"expert-{i}" for i in range(6)]
    assert "expert-2: queued, 2 of 2 slots are in use" in lines
    assert "expert-0: running in slot 1 of 2" in lines


def test_a_slot_is_given_back_when_its_training_fails() -> None:
    admission = Admission(1, lambda line: None)
    with pytest.raises(ValueError, match="no"), admission.admit("first"):
        raise ValueError("no")
    with admission.admit("second"):
        pass
