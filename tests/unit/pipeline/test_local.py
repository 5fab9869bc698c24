import os

import pytest

from orchestrator.errors import ResourceError
from orchestrator.pipeline.local import ProcessMap, choose_device


def _square(x):
    return x * x, os.getpid()


def _die(x):
    if x == 3:
        os._exit(9)
    return x


@pytest.fixture
def processes():
    pool = ProcessMap(2)
    yield pool
    pool.close()


def test_results_come_in_order_from_other_processes(processes):
    results = list(processes(_square, range(50)))
    assert [r for r, _ in results] == [x * x for x in range(50)]
    assert os.getpid() not in {pid for _, pid in results}


def test_a_single_item_stays_in_this_process(processes):
    assert list(processes(_square, [3])) == [(9, os.getpid())]


def test_few_items_are_in_flight(processes):
    taken = []

    def items():
        for x in range(100):
            taken.append(x)
            yield x

    results = processes(_square, items())
    next(results)
    assert len(taken) <= 12


def test_a_killed_worker_is_said(processes):
    with pytest.raises(ResourceError, match="killed"):
        list(processes(_die, range(10)))


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(ResourceError, match="GPU"):
        choose_device("cuda")
