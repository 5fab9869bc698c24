"""What a storm kills, at once or at the moment that its kind names."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

import psutil
from chaos_work import Servers, Work
from nodes import Nodes

from orchestrator.remote.commits import FILES

Found = TypeVar("Found")
STEPS = ("corpus", "tokenizer", "tokens", "blocks", "cache", "router", "mixture", "evaluation")
TITLES = {
    "worker": ("ray::RayTrainWorker",),
    "controller": ("ray::TrainController",),
    "task": tuple(f"ray::{step}" for step in STEPS),
    "cache": ("ray::cache",),
}
OUTAGE = 5
"""Seconds that a server can't be reached."""
PATIENCE = {"commit": 20.0, "upload": 20.0, "cache": 20.0}
"""Seconds to wait for the moment; for a process 10."""


def chosen(wanted: list[str], work: Work, cluster: Nodes) -> str:
    """The next kind, taken off the list; one of which no process is there waits behind others."""
    there = (at for at, kind in enumerate(wanted) if kind not in TITLES or _victims(kind, work, cluster))
    return wanted.pop(next(there, 0))


def kill(kind: str, work: Work, cluster: Nodes, draw: random.Random) -> tuple[str, float]:
    """Kill something of a kind, or the command where nothing of the kind comes.

    Kinds beside names of processes: "commit" kills the command when a training has reported its end and is not
    published, "cache" a task that has written shards and not all, "upload" lets the store be away from when a file is
    sent.

    Returns:
        What was killed, and from when on the work could go on.
    """
    since = time.monotonic()
    if kind == "node":
        cluster.replace(draw.choice((1, 2)))
        return kind, since
    if _outage(kind, work):
        return kind, time.monotonic()
    if kind in TITLES and (there := _awaited(work, kind, lambda: _victims(kind, work, cluster))):
        draw.choice(there).kill()
        return kind, time.monotonic()
    met = kind == "commit" and _awaited(work, kind, lambda: _reported(work))
    work.kill()
    return "commit" if met else "command", time.monotonic()


def processes(cluster: Nodes, titles: tuple[str, ...]) -> Iterator[psutil.Process]:
    """Processes of the cluster by the beginning of their title, in the order of their numbers."""
    for process in sorted(psutil.Process(cluster.process.pid).children(recursive=True), key=lambda each: each.pid):
        with suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith(titles):
                yield process


def _awaited(work: Work, kind: str, find: Callable[[], Found]) -> Found | None:
    """What comes within some seconds; None: nothing came."""
    end = time.monotonic() + PATIENCE.get(kind, 10.0)
    while time.monotonic() < end and not work.ended():
        if found := find():
            return found
        time.sleep(0.005 if kind == "commit" else 0.05)
    return None


def _victims(kind: str, work: Work, cluster: Nodes) -> list[psutil.Process]:
    if kind == "cache" and not any(work.folder.glob("*/work/cache-*/shards/*")):
        return []
    return list(processes(cluster, TITLES[kind]))


def _reported(work: Work) -> bool:
    """Whether a training's last file is there, and the artifact is not yet in its place."""
    return any(work.folder.glob("*/stages/*/.*/training.json"))


def _outage(kind: str, work: Work) -> bool:
    """Let a server be away for some seconds; False: the kind is none of a server's, or nothing was sent to it."""
    servers = work.servers
    if kind == "upload" and servers.s3 and not _sends(servers, PATIENCE[kind]):
        return False
    if kind in ("storage", "upload") and (s3 := servers.s3):
        s3.fails = 1.0
        time.sleep(OUTAGE)
        s3.fails = 0.0
        return True
    if kind in ("tracker", "hang") and (server := servers.tracker):
        server.kill(OUTAGE) if kind == "tracker" else server.hang(OUTAGE)
        return True
    return False


def _sends(servers: Servers, seconds: float) -> bool:
    """Wait until a file of an artifact is sent to the store, which fails from then on; False: none was."""
    s3, met = servers.s3, threading.Event()
    assert s3 is not None

    def hear(method: str, path: str) -> None:
        if method == "PUT" and f"/{FILES}/" in path:
            s3.fails = 1.0
            met.set()

    before, s3.hear = s3.hear, hear
    found = met.wait(seconds)
    s3.hear = before
    return found
