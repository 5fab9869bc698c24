"""The commands of a storm, each of which is typed again whenever it was killed, and the servers that they need."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from chaos_scenarios import ROOT, THERE, Scenario
from mlflow_server import Tracker, tracker
from nodes import Nodes

from tests.unit.remote.server import S3, served

METRICS = "metrics.jsonl"
SECONDS = 900
"""Within which undisturbed commands end."""


@dataclass(frozen=True)
class Servers:
    """Those that the scenario needs: a store, and one that tracks."""

    s3: S3 | None = None
    tracker: Tracker | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for each in (self.s3, self.tracker) if each for name, value in each.environment.items()}


@contextmanager
def servers(scenario: Scenario, folder: Path) -> Iterator[Servers]:
    with ExitStack() as stack:
        s3 = stack.enter_context(served()) if scenario.away else None
        yield Servers(s3, stack.enter_context(tracker(folder / "tracker")) if scenario.tracked else None)


class Work:
    """The commands, each of which is typed again whenever it was killed.

    Args:
        scenario: whose commands.
        folder: of the runs, to be made.
        cluster, servers: where they work.
        calm: undisturbed.
        prepared: a folder of runs in which the first command has ended.
    """

    def __init__(
        self,
        scenario: Scenario,
        folder: Path,
        cluster: Nodes,
        servers: Servers,
        calm: bool = False,
        prepared: Path | None = None,
    ) -> None:
        self.commands = scenario.commands(folder, calm)
        self.folder, self.cluster, self.servers = folder, cluster, servers
        if prepared:
            shutil.copytree(prepared, folder)
            del self.commands[0]
        else:
            folder.mkdir()
        self.log = folder.with_suffix(".txt")
        self.process = self._typed()

    def _typed(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.commands[0], cwd=ROOT, env=self.cluster.environment, stdout=log, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        """Kill the command, and type it again at once."""
        self.process.kill()
        self.process.wait()
        self.process = self._typed()

    def ended(self) -> bool:
        """Whether all have come to their end; the next one is typed.

        Raises:
            AssertionError: one ended with an error.
        """
        code = self.process.poll()
        if code == 2 and THERE in self.log.read_text()[-1000:]:  # it was killed when all was done
            code = 0
        assert not code, f"exit code {code}: {self.log.read_text()[-4000:]}"
        if code == 0 and len(self.commands) > 1:
            del self.commands[0]
            self.process = self._typed()
            return False
        return code == 0

    def progress(self) -> int:
        """Grows as trainings write metrics and steps end."""
        files = (*self.folder.glob(f"*/work/*/{METRICS}"), *self.folder.glob("*/stages/*/*/manifest.json"))
        return sum(_size(file) for file in files)

    def trainings(self) -> dict[Path, int]:
        """How much the trainings that have begun, and not ended, have written of their progress, by folder."""
        begun = (path.parent for name in (METRICS, "ray") for path in self.folder.glob(f"*/work/*/{name}"))
        return {folder: _size(folder / METRICS) for folder in begun}

    def again(self) -> None:
        """Type the last command once more, and wait for its end."""
        self.process = self._typed()
        self.finish()

    def finish(self) -> None:
        """Wait until it ends."""
        end = time.monotonic() + SECONDS
        while not self.ended():
            assert time.monotonic() < end, f"does not end: {self.log.read_text()[-4000:]}"
            time.sleep(0.2)


def _size(file: Path) -> int:
    with suppress(OSError):
        return file.stat().st_size
    return 0
