"""The driver's side of steps on nodes that do not see the run's folder: see :mod:`orchestrator.cluster.away`."""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.artifacts import Artifact
from orchestrator.cluster.away import CHECKPOINTS, METRICS, OUT, PARTS, Away
from orchestrator.environment import cut_rows
from orchestrator.errors import ArtifactError
from orchestrator.housekeeping.pushing import send
from orchestrator.remote.commits import Stored
from orchestrator.remote.store import RemoteStore

_LOOK_SECONDS = 0.3


class Storage:
    """A run's store, which all nodes reach. A later `mome pull` of it finds the artifacts that steps have read.

    Args:
        url: of the store; the run's part of it is below.
        run: its name.

    Raises:
        ResourceError: the store can't be used.
    """

    def __init__(self, url: str, run: str) -> None:
        self._store = RemoteStore(f"{url.rstrip('/')}/{run}")
        self._store.check()
        self._relay = relay()

    @contextmanager
    def carried(self, inputs: Mapping[str, Path], out: Path, work: Path) -> Iterator[Callable[[], Away]]:
        """Send what a step reads, and bring what it has made when the block has ended without an error.

        Args:
            inputs: artifacts by role.
            out: empty folder.
            work: of the step's attempts; its rows of metrics grow meanwhile.

        Yields:
            What makes ready for an attempt, and says what its workers need to know.

        Raises:
            ArtifactError, ResourceError: an input is damaged, or the store fails.
        """
        place, tokens = f"attempts/{work.name}", [""]
        sent = {role: self._sent(folder) for role, folder in inputs.items()}
        ray.get(self._relay.forget.remote(place))

        def attempt() -> Away:
            tokens.append(secrets.token_hex(8))
            below = self._below(place)
            there = sorted(name.fingerprint for name in below if name.place == f"{place}/{CHECKPOINTS}")
            parts = tuple(name for name in below if name.place.startswith(f"{place}/{PARTS}/"))
            steps = [int(name.removeprefix("step-")) for name in there if name.startswith("step-")]
            rows = work / METRICS
            cut_rows(rows, max(steps, default=0))
            metrics = rows.read_bytes() if rows.exists() else b""
            return Away(self._store, place, tokens[-1], sent, self._relay, tuple(there), parts, metrics)

        with self._followed(place, work):
            yield attempt
        self._bring(Stored(f"{place}/{OUT}", tokens[-1]), out, work)
        for name in self._below(place):
            self._store.remove(*name)

    def _sent(self, folder: Path) -> Stored:
        artifact = Artifact.open(folder)
        step = str(artifact.manifest.get("step", folder.parent.name))
        place = send(self._store, step, artifact)
        return Stored(place.place, place.fingerprint)

    def _below(self, place: str) -> list[Stored]:
        return [name for name in self._store.artifacts() if name.place.startswith(f"{place}/")]

    def _bring(self, name: Stored, out: Path, work: Path) -> None:
        fetched = work / name.fingerprint
        if not self._store.fetch(*name, fetched):
            raise ArtifactError("what a step has made is not in the store", self._store.shown, "type the command again")
        for path in fetched.iterdir():
            shutil.move(path, out / path.name)
        fetched.rmdir()

    @contextmanager
    def _followed(self, place: str, work: Path) -> Iterator[None]:
        """Write down what workers send, until the block ends."""
        over = threading.Event()

        def write() -> None:
            with suppress(RayError):
                lines, notes = ray.get(self._relay.take.remote(place))
                with (work / METRICS).open("a", encoding="utf-8") as file:
                    file.writelines(lines)
                for name, text in notes.items():
                    (work / Path(name).name).write_text(text, encoding="utf-8")

        def follow() -> None:
            while not over.wait(_LOOK_SECONDS):
                write()

        thread = threading.Thread(target=follow, name=f"rows of {place}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            write()


def relay() -> Any:
    """The actor between workers and this driver, on the driver's node: any other may be lost while the run goes on."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return Relay.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)  # type: ignore[untyped-decorator]
class Relay:
    """See :func:`relay`: rows go one way, the wish to stop goes back. What is in it when it is killed is lost."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}
        self._notes: dict[str, dict[str, str]] = {}
        self._stopped: set[str] = set()

    def forget(self, place: str) -> None:
        """Begin anew with a step."""
        self._lines.pop(place, None)
        self._notes.pop(place, None)
        self._stopped.discard(place)

    def tell(self, place: str, line: str) -> None:
        """Take a row of metrics."""
        self._lines.setdefault(place, []).append(line)

    def note(self, place: str, name: str, text: str) -> None:
        """Take a small file."""
        self._notes.setdefault(place, {})[name] = text

    def take(self, place: str) -> tuple[list[str], dict[str, str]]:
        """Give rows and files, once."""
        return self._lines.pop(place, []), self._notes.pop(place, {})

    def stop(self, place: str) -> None:
        """Let a step end."""
        self._stopped.add(place)

    def is_stopped(self, place: str) -> bool:
        """Whether a step is to end."""
        return place in self._stopped
