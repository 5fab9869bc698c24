"""Folders that appear whole, their modes under any umask, and digests that are taken once and never too seldom."""

import os
import stat
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from orchestrator import disk
from orchestrator.errors import ArtifactError


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {p.relative_to(folder).as_posix(): stat.S_IMODE(p.lstat().st_mode) for p in (folder, *folder.rglob("*"))}


def fill(folder: Path) -> None:
    (folder / "model").mkdir()
    save_file({"w": torch.zeros(2)}, folder / "model" / "w.safetensors")  # mode 0600, whatever the umask
    (folder / "a.txt").write_text("a")


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077, 0o027, 0o000])
def test_a_placed_folder_is_as_readable_as_the_umask_says(tmp_path, umask, mask):
    umask(mask)
    disk.place_folder(tmp_path / "out", fill)
    assert modes(tmp_path / "out") == {
        ".": 0o777 & ~mask,
        "model": 0o777 & ~mask,
        "a.txt": 0o666 & ~mask,
        "model/w.safetensors": 0o666 & ~mask,
    }


def test_a_file_with_another_name_elsewhere_loses_no_reader(tmp_path, umask):
    (tmp_path / "there").write_text("a")
    (tmp_path / "there").chmod(0o644)
    umask(0o077)
    disk.place_folder(tmp_path / "out", lambda out: disk.link_or_copy(tmp_path / "there", out / "a"))
    assert modes(tmp_path)["there"] == 0o644


def test_links_are_neither_followed_nor_replaced(tmp_path, umask):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    (tmp_path / "mine" / "file").chmod(0o600)
    (tmp_path / "out").symlink_to("mine")
    with pytest.raises(ArtifactError, match="a link stands") as caught:
        disk.place_folder(tmp_path / "out", fill)
    assert "move the link" in caught.value.fix
    disk.place_folder(tmp_path / "other", lambda out: (out / "link").symlink_to(tmp_path / "mine" / "file"))
    assert modes(tmp_path)["mine/file"] == 0o600


def test_a_digest_is_taken_once_until_the_file_changes(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(disk, "file_digest", lambda path: taken.append(path.name) or path.read_text())
    path = tmp_path / "a"
    path.write_text("one")
    os.utime(path, ns=(0, time.time_ns() - 10**9))
    assert [disk.known_digest(path) for _ in range(3)] == ["one"] * 3
    assert taken == ["a"]
    path.write_text("two")  # as long, at another time
    assert disk.known_digest(path) == "two"
    before = path.stat()
    path.unlink()
    path.with_name("b").write_text("old")
    path.write_text("new")  # as long, at the same time: another inode
    os.utime(path, ns=(0, before.st_mtime_ns))
    assert disk.known_digest(path) == "new"


def test_what_has_just_changed_is_not_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_CLOCK_NS", 10**12)
    path = tmp_path / "a"
    path.write_text("one")
    facts = path.stat()
    first = disk.known_digest(path)
    disk.remember_digest(path, first)
    path.write_text("two")
    os.utime(path, ns=(0, facts.st_mtime_ns))
    assert disk.known_digest(path) != first
