"""`mome push` and `mome pull` as they are typed, to a folder and to S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.housekeeping.made import finish
from tests.unit.remote.server import BUCKET, KEY, S3, SECRET, served


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with served() as server:
        yield server


def test_to_a_folder_and_back(mome: Any, tmp_path: Path) -> None:
    finish(tmp_path / "runs" / "done", "teacher")
    to, there = tmp_path / "store", tmp_path / "there"
    ended = mome("push", "done", to, "--runs", tmp_path / "runs")
    assert (ended.code, ended.err) == (0, "")
    assert "sent: 1 artifacts" in ended.out
    assert f"mome pull {to}/done" in ended.out
    assert "nothing to do" in mome("push", "done", to, "--runs", tmp_path / "runs").out
    assert "fetched: 1 artifacts" in mome("pull", to / "done", "--runs", there).out
    assert "nothing to do" in mome("pull", to / "done", "--runs", there).out
    assert "done" in mome("ps", "--runs", there).out


def test_to_s3_and_back(mome: Any, tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(tmp_path / "runs" / "done", "teacher")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    url = f"s3://{BUCKET}/runs"
    assert "sent: 1 artifacts" in mome("push", "done", url, "--runs", tmp_path / "runs").out
    assert "fetched: 1 artifacts" in mome("pull", f"{url}/done", "--runs", tmp_path / "there").out
    s3.requests.clear()
    assert "nothing to do" in mome("push", "done", url, "--runs", tmp_path / "there").out
    assert not [path for method, path in s3.requests if method == "PUT" and "/probes/" not in path]


def test_what_is_refused(mome: Any, tmp_path: Path) -> None:
    finish(tmp_path / "runs" / "done", "teacher")
    for arguments, said in (
        (("push", "other", tmp_path / "store"), "there is no run 'other'"),
        (("push", "done", "ftp://host/x"), "no address of a store"),
        (("push", "done", "s3://"), "names no bucket"),
        (("push", "done", "s3:///x"), "names no bucket"),
        (("pull", tmp_path / "store" / "done"), "the store has no run 'done'"),
        (("pull", "s3://"), "names no store"),
    ):
        ended = mome(*arguments, "--runs", tmp_path / "runs")
        assert (ended.code, "Traceback" in ended.err) == (2, False)
        assert said in " ".join(ended.err.split())
