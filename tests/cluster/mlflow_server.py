"""An MLflow server that is killed or hangs, and what it has been told of a run in the end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from orchestrator.tracking.values import clean, numbers, rows_in

START_SECONDS = 300  # where all cores are taken its imports alone take minutes


@dataclass
class Tracker:
    """The server, on loopback, with its files in a folder."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self._start()

    @property
    def environment(self) -> dict[str, str]:
        """Of those who track there; an answer that takes more than seconds is lost to them."""
        return {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.port}", "MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}

    def kill(self, seconds: float) -> None:
        """Let it be away for so long, at least, and start it again."""
        self.close()
        time.sleep(seconds)
        self._start()

    def hang(self, seconds: float) -> None:
        """Let it answer nobody for so long; then it does what it was asked meanwhile."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.killpg(self.process.pid, signal.SIGCONT)

    def close(self) -> None:
        """End its processes."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def lacks(self, run: Path) -> list[str]:
        """What it was not told of a run, or twice, or late: of each step, by the rows of its artifact."""
        from mlflow.tracking import MlflowClient

        client, state, wrong = (
            MlflowClient(self.environment["MLFLOW_TRACKING_URI"]),
            json.loads((run / "tracking.json").read_text()),
            [],
        )
        for step, known in state["steps"].items():
            (folder,) = (path.parent for path in run.glob(f"stages/*/{known['fingerprint'][:16]}/manifest.json"))
            expected: dict[str, list[int]] = {}
            for name, _, number in numbers(rows_in(folder)):
                expected.setdefault(clean(name), []).append(number)
            for name, steps in expected.items():
                points = client.get_metric_history(known["run"], name)
                found = [point.step for point in sorted(points, key=lambda point: (point.timestamp, point.step))]
                wrong += [] if found == sorted(set(steps)) else [f"{step} {name}: {_spans(found)} for {_spans(steps)}"]
            if (status := client.get_run(known["run"]).info.status) != "FINISHED":
                wrong.append(f"{step}: {status}")
        parent = client.get_run(state["parent"])
        inside = f"tags.`mlflow.parentRunId` = '{state['parent']}'"
        there = [each.info.run_id for each in client.search_runs([parent.info.experiment_id], inside)]
        wrong += [f"a run of no step: {each}" for each in {*there} - {each["run"] for each in state["steps"].values()}]
        return wrong + ([] if parent.info.status == "FINISHED" else [f"the run itself: {parent.info.status}"])

    def _start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder / 'store.db'}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                return
            time.sleep(0.2)
        raise AssertionError((self.folder / "log.txt").read_text()[-3000:])


def _spans(numbers: Sequence[int]) -> str:
    """Numbers that follow each other as their first and last one: a training has hundreds of steps."""
    starts = [at for at, number in enumerate(numbers) if not at or number != numbers[at - 1] + 1]
    spans = [numbers[start:end] for start, end in pairwise([*starts, len(numbers)])]
    return ", ".join(f"{span[0]} to {span[-1]}" if len(span) > 1 else str(span[0]) for span in spans)


@contextmanager
def tracker(folder: Path) -> Iterator[Tracker]:
    """A server until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    server = Tracker(folder, port)
    try:
        yield server
    finally:
        server.close()
