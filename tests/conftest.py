"""Options of the whole suite, and its order where several processes share it."""

# Files that take longest, first: a process that ends early takes what is left, and a long file last would be waited for.
LONGEST = ()


def pytest_addoption(parser):
    parser.addoption("--record", action="store_true", help="write the golden records anew (tests/golden)")


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):  # one of several: `make test`
        places = {file: place for place, file in enumerate(LONGEST)}
        items.sort(
            key=lambda item: places.get(item.path.relative_to(config.rootpath / "tests").as_posix(), len(LONGEST))
        )
