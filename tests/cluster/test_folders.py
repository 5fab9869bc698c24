"""Who holds Ray's folders: without Ray."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from orchestrator.cluster.folders import find_place, held_folder, remove_left
from orchestrator.errors import ResourceError

fork = multiprocessing.get_context("fork")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="m", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_a_folder_is_there_for_the_time_of_the_block(place: Path) -> None:
    with held_folder() as folder:
        assert folder.parent == place
        remove_left(place)
        assert folder.is_dir()
    assert list(place.iterdir()) == []


def _hold(held: Event) -> None:
    with held_folder():
        held.set()
        signal.pause()


def test_another_process_s_is_left_alone_until_that_is_dead(place: Path) -> None:
    held = fork.Event()
    other = fork.Process(target=_hold, args=(held,))
    other.start()
    assert held.wait(10)
    (folder,) = place.iterdir()
    # In another container the holder's number may be anybody's: nothing in the name is looked at.
    folder = folder.rename(place / "mome-ray-999999-abc")
    with held_folder():
        assert folder.is_dir()
    (folder / "r" / "session").mkdir(parents=True)
    os.utime(folder, (0, 0))
    os.kill(other.pid or 0, signal.SIGKILL)
    other.join(10)
    remove_left(place)
    # Ray 2.60's agents live on for a minute, and write to where they did: nobody else is to see into it.
    assert [path.name for path in folder.iterdir()] == ["lock"]
    assert folder.stat().st_mode & 0o077 == 0
    remove_left(place)
    assert folder.is_dir()
    os.utime(folder, (0, 0))
    remove_left(place)
    assert list(place.iterdir()) == []


def test_folders_without_a_lock_go_in_time(place: Path) -> None:
    for name in ("mome-ray-young", "mome-ray-old", "mome-new-young", "mome-new-old", "ray"):
        (place / name).mkdir()
    for name in ("mome-ray-old", "mome-new-old", "ray"):
        os.utime(place / name, (0, 0))
    remove_left(place)
    assert {path.name for path in place.iterdir()} == {"mome-ray-young", "mome-new-young", "ray"}


def test_a_temporary_folder_too_deep_for_sockets_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/" + "x" * 40)
    assert len(str(find_place())) <= 16
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ResourceError, match="at most 16 characters"):
        find_place()
