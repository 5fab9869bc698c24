"""A step on a node that does not see the run's folder: what it reads is fetched from a store, what it makes is sent.

Of a training every checkpoint is sent as well, and of other steps each part that is whole (a shard of a cache), so
that the next attempt can go on at another node. Rows of metrics go to the driver by an actor of Ray.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from orchestrator.artifacts import digest
from orchestrator.disk import link_or_copy
from orchestrator.errors import ArtifactError, ResourceError
from orchestrator.remote.commits import Stored
from orchestrator.remote.store import RemoteStore

METRICS = "metrics.jsonl"
OUT = "out"
"""The name of what an attempt has made, below the step's place."""
CHECKPOINTS = "checkpoints"
PARTS = "parts"
"""Of what earlier attempts have made of a step: a file each."""
_OLD_SECONDS = 86400.0
"""After which nobody uses what was fetched for an earlier step."""


@dataclass(frozen=True)
class Away:
    """What a worker needs to know of a step whose run's folder it does not see.

    Attributes:
        store: of the run.
        place: in the store, of all attempts at the step.
        token: of this attempt.
        inputs: by role, their names in the store.
        checkpoints: of earlier attempts, names of folders.
        parts: of earlier attempts, names in the store, each of a file.
        metrics: rows of earlier attempts, as the driver has them.
        relay: the actor that takes rows for the driver; see :class:`orchestrator.cluster.storage.Relay`.
    """

    store: RemoteStore
    place: str
    token: str
    inputs: Mapping[str, Stored]
    relay: Any = field(repr=False)
    checkpoints: tuple[str, ...] = ()
    parts: tuple[Stored, ...] = ()
    metrics: bytes = b""

    @property
    def is_stopped(self) -> bool:
        """Whether the step is to end."""
        with suppress(RayError):
            return bool(ray.get(self.relay.is_stopped.remote(self.place)))
        return False

    def stop(self) -> None:
        """Let the step end."""
        ray.get(self.relay.stop.remote(self.place))

    def tell(self, line: str) -> None:
        """Send a row of metrics."""
        self.relay.tell.remote(self.place, line)

    def note(self, name: str, text: str) -> None:
        """Send a small file of the step's work."""
        with suppress(RayError):
            ray.get(self.relay.note.remote(self.place, name, text))


@dataclass(frozen=True)
class AtHand:
    """The folders of a step on this node.

    Attributes:
        inputs: by role.
        out: what is written there is sent when the block has ended without an error.
        work: with the checkpoints of earlier attempts.
        keep: is told of each checkpoint and part; None: they lie where the next attempt finds them.
    """

    inputs: dict[str, Path]
    out: Path
    work: Path
    keep: Callable[[Path], None] | None = None


@contextmanager
def at_hand(away: Away, rank: int = 0) -> Iterator[AtHand]:
    """The folders of a step on this node, until the block ends. What the first worker has made is sent then.

    Raises:
        ArtifactError, ResourceError: the store lacks something, or fails.
    """
    node = _node_folder(away.store)
    inputs = {role: node / _local_name(away.store, name) for role, name in away.inputs.items()}
    for role, name in away.inputs.items():
        _fetch(away.store, name, inputs[role])
    folder = Path(tempfile.mkdtemp(prefix="attempt-", dir=node))
    keeper = _Keeper(away, folder / "work", sends=rank == 0)
    try:
        (folder / OUT).mkdir()
        (folder / "work").mkdir()
        (folder / "work" / METRICS).write_bytes(away.metrics)
        for kept in away.checkpoints:
            _fetch(away.store, Stored(f"{away.place}/{CHECKPOINTS}", kept), folder / "work" / CHECKPOINTS / kept)
        for part in away.parts:
            place = folder / "work" / part.place.removeprefix(f"{away.place}/{PARTS}/")
            _fetch(away.store, part, place / f".{part.fingerprint}")
            (place / f".{part.fingerprint}" / part.fingerprint).rename(place / part.fingerprint)
        yield AtHand(inputs, folder / OUT, folder / "work", keeper)
        if rank == 0:
            away.store.publish(f"{away.place}/{OUT}", away.token, folder / OUT)
    except BaseException:
        for path in (folder / "work").glob("*.json"):  # of what went wrong
            away.note(path.name, path.read_text(encoding="utf-8"))
        raise
    finally:
        keeper.close()
        shutil.rmtree(folder, ignore_errors=True)


class _Keeper:
    """Sends checkpoints and parts while the step goes on: one at a time, the next one waits for it."""

    def __init__(self, away: Away, work: Path, *, sends: bool) -> None:
        self._away, self._work, self._sends = away, work, sends
        self._pool = ThreadPoolExecutor(1, "checkpoints")
        self._sending: Future[None] | None = None

    def __call__(self, kept: Path) -> None:
        """Begin to send a checkpoint, or a part, that is whole, when the one before it has been sent.

        Raises:
            ResourceError: that one could not be.
        """
        if not self._sends:
            return
        if self._sending is not None:
            self._sending.result()
        self._sending = self._pool.submit(self._send_part if kept.is_file() else self._send, kept)

    def close(self) -> None:
        """Wait for the last one: the next attempt goes on from it."""
        self._pool.shutdown(wait=True)

    def _send(self, checkpoint: Path) -> None:
        store, place = self._away.store, f"{self._away.place}/{CHECKPOINTS}"
        store.publish(place, checkpoint.name, checkpoint)
        there = {path.name for path in (self._work / CHECKPOINTS).iterdir()}
        for name in store.artifacts():  # no more are kept than by the training itself
            if name.place == place and name.fingerprint not in there:
                store.remove(*name)

    def _send_part(self, part: Path) -> None:
        place = f"{self._away.place}/{PARTS}/{part.parent.relative_to(self._work).as_posix()}"
        with tempfile.TemporaryDirectory(dir=self._work.parent) as folder:  # what a store publishes is a folder
            link_or_copy(part, Path(folder) / part.name)
            self._away.store.publish(place, part.name, Path(folder))


def _local_name(store: RemoteStore, name: Stored) -> str:
    """What an artifact is called on a node: by what is committed now, as a step that was made again has other files."""
    commit = store.find(*name)
    if commit is None:
        raise _missing(store, name)
    return f"{name.place.replace('/', '-')}/{name.fingerprint}-{commit.attempt}"


def _fetch(store: RemoteStore, name: Stored, folder: Path) -> None:
    if not store.fetch(*name, folder):
        raise _missing(store, name)
    with suppress(OSError):
        os.utime(folder)  # it is in use


def _missing(store: RemoteStore, name: Stored) -> ArtifactError:
    return ArtifactError(f"{name.place} is not in the store", store.shown, "type the same command again")


def _node_folder(store: RemoteStore) -> Path:
    """Where this node keeps what it has fetched for a run; what nobody has used for a day is removed first.

    Raises:
        ResourceError: somebody else can write there: what stands there would be taken for what was fetched.
    """
    ours = Path(tempfile.gettempdir()) / f"mome-away-{os.getuid()}"
    ours.mkdir(exist_ok=True, mode=0o700)
    facts = ours.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        raise ResourceError("others can write to this node's folder", str(ours), "remove it, or set another TMPDIR")
    folder = ours / digest([store.url])[:16]
    folder.mkdir(exist_ok=True)
    until = time.time() - _OLD_SECONDS
    for path in (*folder.parent.glob("*/attempt-*"), *folder.parent.glob("*/stages-*/*")):
        with suppress(OSError):
            if path.stat().st_mtime < until:
                shutil.rmtree(path, ignore_errors=True)
    return folder
