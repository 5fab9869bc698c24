"""Tests shared by processes (``--processes 3``), which are forked from the one that has imported and collected them.

pytest-xdist has every process import and collect all for itself, seconds of a core each. A file's tests stay in one
process, which keeps what they share; a process that has ended a file takes the next one.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

import pytest

_FORKS = multiprocessing.get_context("fork")


def run_shared(session: pytest.Session, count: int, key: Callable[[pytest.Item], str]) -> None:
    """Run the session's tests in so many processes; its plug-ins get their reports here.

    Neighbours of one `key` stay in one process.
    """
    session.config.pluginmanager.getplugin("terminalreporter").showfspath = False  # files take turns
    temporary = session.config._tmp_path_factory.getbasetemp()
    files = [list(items) for _, items in itertools.groupby(session.items, key)]
    sharing = _Sharing(session, iter(files))
    processes = [_Process(session, temporary / f"process-{number}") for number in range(count)]
    try:
        while lines := {process.line: process for process in processes if not process.ended}:
            for line in wait(list(lines)):
                sharing.hear(lines[line])
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
    finally:
        for process in processes:
            process.end()


class _Process:
    """One that runs tests, and the line to it: places of a file's tests go one way, what happens comes back."""

    def __init__(self, session: pytest.Session, temporary: Any) -> None:
        self.line, there = _FORKS.Pipe()
        self.waiting: list[pytest.Item] = []
        self.ended = False
        self.process = _FORKS.Process(target=_work, args=(session, temporary, there, self.line))
        self.process.start()
        there.close()

    def end(self) -> None:
        """Interrupt it where it is still at work."""
        self.line.close()
        if not self.ended and self.process.pid:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGINT)
        self.process.join()


class _Sharing:
    """What the first process does: it hands out files, and tells pytest what others did."""

    def __init__(self, session: pytest.Session, files: Iterator[list[pytest.Item]]) -> None:
        self.hook, self.config, self.files = session.config.hook, session.config, files
        self.places = {item.nodeid: place for place, item in enumerate(session.items)}

    def hear(self, process: _Process) -> None:
        """Take one message of a process."""
        try:
            kind, told = process.line.recv()
        except EOFError:
            return self._lost(process)
        if kind == "wants":
            items = next(self.files, [])
            process.waiting += items
            process.line.send([self.places[item.nodeid] for item in items])
            process.ended = not items and not process.waiting
        elif kind == "report":
            report = self.hook.pytest_report_from_serializable(config=self.config, data=told)
            self.hook.pytest_runtest_logreport(report=report)
        elif kind == "finished":
            process.waiting = [item for item in process.waiting if item.nodeid != told]
            self.hook.pytest_runtest_logfinish(nodeid=told, location=("", None, ""))
        elif kind == "warning":
            *message, when, nodeid, location = told
            facts = {"when": when, "nodeid": nodeid, "location": location}
            facts["warning_message"] = warnings.WarningMessage(*message)
            self.hook.pytest_warning_recorded.call_historic(kwargs=facts)
        return None

    def _lost(self, process: _Process) -> None:
        """All tests that it was to run have failed, where it has not come to its end."""
        process.ended = True
        process.process.join()
        for item in process.waiting:
            why = f"the process of this file's tests ended, with {process.process.exitcode}"
            report = pytest.TestReport(item.nodeid, item.location, {}, "failed", why, "call")
            self.hook.pytest_runtest_logreport(report=report)


class _Telling:
    """A plug-in of a process that runs tests: what happens goes over the line."""

    def __init__(self, config: pytest.Config, line: Connection) -> None:
        self.config, self.line = config, line

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        self.line.send(("report", told))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.line.send(("finished", nodeid))

    def pytest_warning_recorded(self, warning_message: Any, when: str, nodeid: str, location: Any) -> None:
        message = (str(warning_message.message), warning_message.category)
        place = (warning_message.filename, warning_message.lineno)
        self.line.send(("warning", (*message, *place, when, nodeid, location)))


def _work(session: pytest.Session, temporary: Any, line: Connection, other: Connection) -> None:
    other.close()
    config = session.config
    config.option.basetemp = str(temporary)
    config._tmp_path_factory = pytest.TempPathFactory.from_config(config, _ispytest=True)
    capture = config.pluginmanager.getplugin("capturemanager")
    capture.stop_global_capturing()  # its file is that of all processes
    capture.start_global_capturing()
    config.pluginmanager.unregister(name="terminalreporter")
    config.pluginmanager.register(_Telling(config, line))
    try:
        items = _wanted(session, line)
        item = next(items, None)
        while item is not None:
            following = next(items, None)  # known before it ends: what both share stays
            config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            item = following
    finally:
        session._setupstate.teardown_exact(None)
        capture.stop_global_capturing()


def _wanted(session: pytest.Session, line: Connection) -> Iterator[pytest.Item]:
    while places := _asked(line):
        yield from (session.items[place] for place in places)


def _asked(line: Connection) -> list[int]:
    line.send(("wants", None))
    places: list[int] = line.recv()
    return places
