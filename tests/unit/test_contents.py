"""Digests of files by content, and what is remembered of them."""

import os

import pytest

from orchestrator import contents
from orchestrator.contents import content_digests


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(contents, "_KEPT_FROM", 0)
    return tmp_path / "cache" / "mome" / "contents.sqlite"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"text")
    return path


def test_a_copy_elsewhere_and_later_has_the_same_digest(file, tmp_path):
    copy = tmp_path / "copy"
    copy.write_bytes(b"text")
    os.utime(copy, (1, 1))
    assert content_digests([file]) == content_digests([copy])


def test_a_file_is_read_once(file, monkeypatch):
    before = content_digests([file])
    monkeypatch.setattr(contents, "_digest", lambda path: pytest.fail("read again"))
    assert content_digests([file]) == before


def test_a_changed_file_is_read_again_whatever_its_size(file):
    before = content_digests([file])
    file.write_bytes(b"tixt")
    os.utime(file, ns=(1, 1))
    assert content_digests([file]) != before


@pytest.mark.parametrize("damage", [lambda c: c.write_bytes(b"no database"), lambda c: (c.unlink(), c.mkdir())])
def test_a_damaged_cache_is_done_without(file, cache, damage):
    before = content_digests([file])
    damage(cache)
    assert content_digests([file]) == before


def test_a_cache_that_cannot_be_written_is_done_without(file, cache):
    cache.parent.parent.write_text("a file where the folder would be")
    assert content_digests([file]) == content_digests([file])
