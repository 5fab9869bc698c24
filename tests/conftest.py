"""Options of the whole suite, and its order where several processes share it."""

import signal
import threading

# Who ends early takes what is left: the longest files come first, so that nobody waits for one of them in the end.
LONGEST = (
    *("end_to_end/test_smoke.py", "cluster/test_workers.py", "contracts/test_parts.py", "cluster/test_sweep.py"),
    *("serve/test_app.py", "cluster/test_runner.py", "end_to_end/test_growing.py", "cluster/test_stopping.py"),
    *("cluster/test_memory.py", "contracts/test_strategies.py", "benchmarks/test_cache.py", "golden/test_golden.py"),
)


def pytest_configure() -> None:
    """Let commands that tests interrupt hear it: what a shell starts in the background ignores Ctrl-C."""
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
