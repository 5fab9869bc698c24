"""Options of the whole suite."""


def pytest_addoption(parser):
    parser.addoption("--record", action="store_true", help="write the golden records anew (tests/golden)")
