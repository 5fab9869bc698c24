"""Options of the whole suite, and its order where several processes share it."""

import gc
import os
import signal
import threading

# Who ends early takes what is left: the longest files come first, so that nobody waits for one of them in the end.
LONGEST = (
    *("cluster/test_storage.py", "cluster/test_leaving.py", "cluster/test_room.py", "end_to_end/test_stopped.py"),
    *("end_to_end/test_smoke.py", "contracts/test_parts.py", "serve/test_app.py", "cluster/test_sweep.py"),
    *("cluster/test_runner.py", "end_to_end/test_growing.py", "cluster/test_stopping.py", "cluster/test_memory.py"),
    *("cluster/test_session.py", "benchmarks/test_cache.py", "golden/test_golden.py"),
    *("unit/study/pages/test_study_report.py", "contracts/test_mixtures.py"),
)

# A cluster starts as many workers as CPUs before it knows what for: most would end without having done anything.
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")


def pytest_configure() -> None:
    """Let commands that tests interrupt hear it: what a shell starts in the background ignores Ctrl-C."""
    gc.set_threshold(50_000, 20, 50)  # see pytest_collection_finish
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--record", action="store_true", help="write the golden records anew (tests/golden)")
    parser.addoption(
        "--plugin", help="package.module:Class; the laws of tests/contracts/test_ROOM.py hold it, not ours"
    )
    parser.addoption("--options", default="{}", help="options of --plugin, as JSON: at a size for tests")


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):  # one of several: `make test`
        places = {config.rootpath / "tests" / file: place for place, file in enumerate(LONGEST)}
        items.sort(key=lambda item: places.get(item.path, len(LONGEST)))


def pytest_collection_finish():
    """Spare the garbage collector what was imported, which stays, and have it look less often: a tenth of the time."""
    gc.collect()
    gc.freeze()
