"""CPU time of processes as the benches add it up."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from benchmarks._processes import Tree, own_cpu

_BURN = """
import time
while time.thread_time() < 0.3: pass
print(flush=True)
input()
"""


def _burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_what_a_process_has_used_stays_when_it_ends() -> None:
    process = subprocess.Popen([sys.executable, "-c", _BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    tree = Tree(process.pid)
    tree.look()
    used = tree.cpu
    process.communicate(b"\n")
    tree.look()
    assert (used >= 0.28, tree.cpu, tree.processes) == (True, used, 0)


def test_a_thread_counts_beside_the_first_one() -> None:
    before, done, end = own_cpu(), threading.Event(), threading.Event()

    def work() -> None:
        _burn(0.3)
        done.set()
        end.wait()

    thread = threading.Thread(target=work)
    thread.start()
    done.wait()
    assert own_cpu() - before >= 0.28  # the system counts in hundredths
    end.set()
    thread.join()
