import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time

import psutil
import pytest

from orchestrator.errors import ResourceError
from orchestrator.processes import ProcessMap


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


def test_a_temporary_folder_may_have_a_name_too_long_for_a_socket(tmp_path, monkeypatch, processes):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    assert [r for r, _ in processes(_square, range(3))] == [0, 1, 4]
    assert processes._pool._mp_context.get_start_method() == "spawn"  # no socket


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


def test_workers_do_not_run_the_callers_script_again(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from math import sqrt\nfrom orchestrator.processes import ProcessMap\nprint('began')\n"
        "pool = ProcessMap(2)\nprint(list(pool(sqrt, [1.0, 4.0, 9.0])))\npool.close()\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "began\n[1.0, 2.0, 3.0]\n"


def _leave_workers(path):
    pids = {pid for _, pid in ProcessMap(2)(_square, range(20))}
    path.write_text(" ".join(map(str, pids)))
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_of_a_killed_run_end(tmp_path):
    run = multiprocessing.get_context("spawn").Process(target=_leave_workers, args=(tmp_path / "pids",))
    run.start()
    run.join(60)
    workers = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert workers
    deadline = time.monotonic() + 20
    while any(map(psutil.pid_exists, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in workers if psutil.pid_exists(pid)]
