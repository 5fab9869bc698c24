"""Options of the whole suite, and its order where several processes share it."""

# Who ends early takes what is left: the longest files come first, so that nobody waits for one of them in the end.
LONGEST = (
    *("end_to_end/test_smoke.py", "cluster/test_runner.py", "end_to_end/test_growing.py", "contracts/test_parts.py"),
    *("end_to_end/test_machine.py", "serve/test_app.py", "cluster/test_sweep.py", "cluster/test_stopping.py"),
    *("cluster/test_memory.py", "end_to_end/test_transformers_4.py", "contracts/test_strategies.py"),
    *("golden/test_golden.py", "benchmarks/test_cache.py", "unit/pipeline/test_estimate.py"),
)


def pytest_addoption(parser):
    parser.addoption("--record", action="store_true", help="write the golden records anew (tests/golden)")


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):  # one of several: `make test`
        places = {config.rootpath / "tests" / file: place for place, file in enumerate(LONGEST)}
        items.sort(key=lambda item: places.get(item.path, len(LONGEST)))
