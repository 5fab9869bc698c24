"""Artifacts in a store: whole or not there, the first one stays, and what killed attempts left can be swept."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec.registry  # noqa: F401
import pytest

from orchestrator.artifacts import Store
from orchestrator.errors import ArtifactError, ResourceError
from orchestrator.remote.commits import Commit, Stored
from orchestrator.remote.store import RemoteStore
from tests.unit.remote.server import BUCKET, KEY, S3, SECRET

pytestmark = pytest.mark.long

ODD = {
    "model.bin": bytes(range(256)) * 40,
    "empty": b"",
    "deep/er/and deeper/file": b"nested",
    "with space # and %20 and +.txt": b"odd",
    "größe/日本語?x=1&y=[2]*.txt": "ä".encode(),
    "deep/er.json": b"{}",
}


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def files_of(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_there_and_back(store: RemoteStore, tmp_path: Path) -> None:
    store.check()
    made = folder_of(tmp_path / "made", ODD)
    assert store.find("stages/teacher", "f1") is None
    assert not store.fetch("stages/teacher", "f1", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    commit = store.publish("stages/teacher", "f1", made)
    assert store.find("stages/teacher", "f1") == commit
    assert store.fetch("stages/teacher", "f1", tmp_path / "a" / "got")
    assert files_of(tmp_path / "a" / "got") == ODD
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["got"]
    assert store.artifacts() == [("stages/teacher", "f1")]
    assert store.sweep(0) == 0
    assert store.fetch("stages/teacher", "f1", tmp_path / "b")
    store.remove("stages/teacher", "f1")
    assert (store.artifacts(), store.find("stages/teacher", "f1")) == ([], None)
    assert store._objects.list("") == {}


def test_the_first_stays(store: RemoteStore, tmp_path: Path) -> None:
    first = store.publish("teacher", "f", folder_of(tmp_path / "1", {"a": b"first"}))
    again = RemoteStore(store.url, store.options)  # another process
    assert again.publish("teacher", "f", folder_of(tmp_path / "2", {"a": b"second", "b": b""})) == first
    again.fetch("teacher", "f", tmp_path / "got")
    assert files_of(tmp_path / "got") == {"a": b"first"}


def test_names_that_begin_alike(store: RemoteStore, tmp_path: Path) -> None:
    names = [("expert-en", "1"), ("expert-en", "12"), ("expert-en-x", "1"), ("expert", "en"), ("a b/%2F#é", "[1]*")]
    for place, fingerprint in names:
        store.publish(place, fingerprint, folder_of(tmp_path / place / fingerprint, {"a": fingerprint.encode()}))
    assert store.artifacts() == sorted(names)
    store.remove("expert-en", "1")
    assert store.artifacts() == sorted(names[1:])
    for place, fingerprint in names[1:]:
        assert store.fetch(place, fingerprint, tmp_path / "got" / place / fingerprint)
    for name in (("..", "f"), ("", "f"), ("a", "../f"), ("a//b", "f"), ("a", "")):
        with pytest.raises(ArtifactError, match="can't be named"):
            store.find(*name)


def test_publishers_at_once(store: RemoteStore, tmp_path: Path) -> None:
    count = 3
    folders = [folder_of(tmp_path / str(n), {"who": str(n).encode(), "big": bytes(n)}) for n in range(count)]
    begin = threading.Barrier(count)

    def publish(folder: Path) -> Commit:
        mine = RemoteStore(store.url, store.options)  # its own connections
        mine.check()
        begin.wait()
        return mine.publish("teacher", "f", folder)

    with ThreadPoolExecutor(count) as pool:
        commits = list(pool.map(publish, folders))
    assert all(commit == commits[0] for commit in commits)
    assert store.fetch("teacher", "f", tmp_path / "got")
    won = int((tmp_path / "got" / "who").read_text())
    assert files_of(tmp_path / "got") == files_of(folders[won])
    assert len(store._objects.list("")) == 3  # the others have cleaned up


def test_it_goes_to_other_processes(tmp_path: Path) -> None:
    store = RemoteStore(f"memory://{tmp_path.name}", {"global_store": True}, parallel=3)
    store.publish("teacher", "f", folder_of(tmp_path / "made", ODD))  # connections and threads stay here
    there = pickle.loads(pickle.dumps(store))
    assert there == store
    assert there.find("teacher", "f") == store.find("teacher", "f")


def test_fetchers_at_once(store: RemoteStore, tmp_path: Path) -> None:
    store.publish("teacher", "f", folder_of(tmp_path / "made", ODD))
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: store.fetch("teacher", "f", tmp_path / "got" / "f"), range(4)))
    assert files_of(tmp_path / "got" / "f") == ODD
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["f"]


def test_an_artifact_of_a_run(store: RemoteStore, tmp_path: Path) -> None:
    made = Store(tmp_path / "run").publish("teacher", "f" * 64, {}, lambda out: (out / "a").write_bytes(b"x") and None)
    store.publish("teacher", "f" * 64, made.folder)
    there = Store(tmp_path / "other")
    assert store.fetch("teacher", "f" * 64, there.folder("teacher", "f" * 64))
    found = there.find("teacher", "f" * 64)
    assert found
    assert found.check().manifest == made.manifest
    (made.folder / "a").write_bytes(b"y")
    with pytest.raises(ArtifactError, match="changed since it was published"):
        store.publish("teacher", "e" * 64, made.folder)
    assert store.find("teacher", "e" * 64) is None


def test_what_is_damaged_in_the_store_is_not_taken(store: RemoteStore, tmp_path: Path) -> None:
    commit = store.publish("teacher", "f", folder_of(tmp_path / "made", {"a": b"right", "b": b"2"}))
    key = f"files/teacher/f/{commit.attempt}/{commit.files['a'].key}"
    store._objects._fs.pipe_file(store._objects._path(key), b"wrong")
    with pytest.raises(ArtifactError, match="a of an artifact has changed in the store"):
        store.fetch("teacher", "f", tmp_path / "out" / "got")
    store._objects.delete([key])
    with pytest.raises(ArtifactError, match="a of an artifact is missing in the store"):
        store.fetch("teacher", "f", tmp_path / "out" / "got")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "", "a\0"])
def test_a_commit_that_leads_elsewhere(tmp_path: Path, name: str) -> None:
    store = RemoteStore(f"memory://{tmp_path.name}")
    facts = {"key": "00000", "bytes": 0, "sha256": ""}
    data = json.dumps({"format": 1, "attempt": "x", "files": {name: facts}}).encode()
    store._objects.create(Stored("teacher", "f").commit, data)
    with pytest.raises(ArtifactError, match="outside of its folder"):
        store.fetch("teacher", "f", tmp_path / "got" / "f")
    assert not (tmp_path / "got").exists()


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}", b'{"format": 2}', b'{"format": 1, "attempt": "..", "files": {}}'])
def test_a_commit_that_is_none(tmp_path: Path, data: bytes) -> None:
    store = RemoteStore(f"memory://{tmp_path.name}")
    store._objects.create(Stored("teacher", "f").commit, data)
    with pytest.raises(ArtifactError, match=r"commit|format|outside"):
        store.find("teacher", "f")


def test_sweep_leaves_what_is_young(store: RemoteStore, tmp_path: Path) -> None:
    store.publish("teacher", "f", folder_of(tmp_path / "made", {"a": b"12345"}))
    lost = folder_of(tmp_path / "lost", {"a": b"123", "b": b"4"})
    store._send(lost, "files/teacher/f/dead")
    store._send(lost, "files/teacher/new/dead")
    assert store.sweep(3600) == 0
    assert store.sweep(-5) == 8
    assert store.fetch("teacher", "f", tmp_path / "got")
    assert store.artifacts() == [("teacher", "f")]
    assert len(store._objects.list("files")) == 1


def test_a_thousand_artifacts(s3: S3, tmp_path: Path) -> None:
    store = s3.store(tmp_path.name)
    for number in range(1001):  # moto's server is slow: its memory is written to
        _put(f"{tmp_path.name}/committed/teacher/{number:04d}.json", b"{}")
    assert len(store.artifacts()) == 1001
    assert store.artifacts()[0] == ("teacher", "0000")


def _put(key: str, data: bytes) -> None:
    from moto.s3.models import s3_backends

    for backends in s3_backends.values():
        for backend in backends.values():
            if BUCKET in backend.buckets:
                backend.put_object(BUCKET, key, data)


def test_a_store_that_fails_a_third_of_its_requests(s3: S3, tmp_path: Path) -> None:
    made = folder_of(tmp_path / "made", {**ODD, **{f"shard-{n}": os.urandom(3000) for n in range(12)}})
    s3.fails = 1 / 3
    store = s3.store(tmp_path.name)
    commit = store.publish("teacher", "f", made)
    assert s3.store(tmp_path.name).fetch("teacher", "f", tmp_path / "got")
    s3.fails = 0.0
    assert files_of(tmp_path / "got") == files_of(made)
    assert store.artifacts() == [("teacher", "f")]
    assert len(store._objects.list("files")) == len(commit.files)
    assert s3.failed > len(s3.requests) / 6


def test_a_store_that_is_away_for_a_while(s3: S3, tmp_path: Path) -> None:
    made = folder_of(tmp_path / "made", ODD)
    store = s3.store(tmp_path.name)
    store.check()
    s3.fails = 1.0
    back = threading.Timer(0.7, lambda: setattr(s3, "fails", 0.0))
    back.start()
    store.publish("teacher", "f", made)
    assert store.artifacts() == [("teacher", "f")]
    s3.fails = 1.0
    with pytest.raises(ResourceError, match="does not answer"):
        s3.store(tmp_path.name, patience=0.3).find("teacher", "f")


PUBLISH = """
import json, sys
from pathlib import Path
from orchestrator.remote.store import RemoteStore
url, options, folder = sys.argv[1:]
RemoteStore(url, json.loads(options), parallel=2).publish("teacher", "f", Path(folder))
"""


def publishing(store: RemoteStore, folder: Path) -> subprocess.Popen[bytes]:
    options = {name: value for name, value in store.options.items() if name != "session"}
    command = [sys.executable, "-c", PUBLISH, store.url, json.dumps(options), str(folder)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[3])


@pytest.mark.parametrize("at", ["third file", "commit"])
def test_killed_in_the_middle(s3: S3, tmp_path: Path, at: str) -> None:
    store = s3.store(tmp_path.name)
    made = folder_of(tmp_path / "made", {str(n): os.urandom(100) for n in range(6)})
    seen: list[str] = []

    def hear(method: str, path: str) -> None:
        if method == "PUT" and ("/files/" in path or "/committed/" in path):
            seen.append(path)
            if (len(seen) == 3) if at == "third file" else "/committed/" in path:
                process.kill()
                process.wait()
                s3.hear = lambda method, path: None
                raise ConnectionResetError  # the request does not come through

    s3.hear = hear
    process = publishing(store, made)
    assert process.wait() == -signal.SIGKILL
    assert store.find("teacher", "f") is None
    assert store.artifacts() == []
    # Two are written at once: the third comes when one is there, and the other may be lost on its way.
    assert len(store._objects.list("files")) in ((1, 2, 3) if at == "third file" else (6,))
    assert store.sweep(-5) > 0
    assert store._objects.list("files") == {}
    store.publish("teacher", "f", made)
    assert store.fetch("teacher", "f", tmp_path / "got")
    assert files_of(tmp_path / "got") == files_of(made)


def test_processes_at_once(s3: S3, tmp_path: Path) -> None:
    store = s3.store(tmp_path.name)
    folders = [folder_of(tmp_path / str(n), {"who": str(n).encode()}) for n in range(2)]
    assert [process.wait() for process in [publishing(store, folder) for folder in folders]] == [0, 0]
    assert store.fetch("teacher", "f", tmp_path / "got")
    assert files_of(tmp_path / "got") in [files_of(folder) for folder in folders]
    assert len(store._objects.list("files")) == 1


def test_a_large_file_in_parts(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.remote.objects._WHOLE", 5 << 20)
    store = s3.store(tmp_path.name)
    made = folder_of(tmp_path / "made", {"large": os.urandom(10_500_000), "small": b"1"})
    store.publish("teacher", "f", made)
    assert any(method == "POST" for method, _ in s3.requests)
    assert store.fetch("teacher", "f", tmp_path / "got")
    assert files_of(tmp_path / "got") == files_of(made)


def test_sweep_of_an_upload_in_parts_that_was_killed(s3: S3, tmp_path: Path) -> None:
    store = s3.store(tmp_path.name)
    fs = store._objects._fs
    for folder in (tmp_path.name, "another"):
        key = f"{folder}/files/teacher/f/dead/00000"
        facts = {"Bucket": BUCKET, "Key": key}
        upload = fs.call_s3("create_multipart_upload", **facts)["UploadId"]
        fs.call_s3("upload_part", **facts, UploadId=upload, PartNumber=1, Body=b"1" * 100)

    def left() -> list[str]:
        return [each["Key"] for each in fs.call_s3("list_multipart_uploads", Bucket=BUCKET).get("Uploads", ())]

    assert len(left()) == 2
    store.sweep(3600)  # of moto's server every upload began in 2010
    assert left() == [key]
    fs.call_s3("abort_multipart_upload", **facts, UploadId=upload)


def test_what_arrived_damaged_is_sent_again(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = s3.store(tmp_path.name)
    store.check()
    assert store._md5_tags
    real, left = store._objects._fs.pipe_file, [1]

    def damaged(path: str, data: bytes, **more: object) -> object:
        if "/files/" in path and left:
            left.pop()
            data = bytes(len(data))
        return real(path, data, **more)

    monkeypatch.setattr(store._objects._fs, "pipe_file", damaged)
    store.publish("teacher", "f", folder_of(tmp_path / "made", {"a": b"right"}))
    assert not left
    assert store.fetch("teacher", "f", tmp_path / "got")
    assert files_of(tmp_path / "got") == {"a": b"right"}


def test_a_store_that_overwrites_is_refused(s3: S3, tmp_path: Path) -> None:
    s3.ignores_conditions = True
    with pytest.raises(ResourceError, match="put-if-absent"):
        s3.store(tmp_path.name).check()
    with pytest.raises(ResourceError, match="put-if-absent"):
        s3.store(tmp_path.name).publish("teacher", "f", folder_of(tmp_path / "made", ODD))
    s3.ignores_conditions = False
    assert s3.store(tmp_path.name)._objects.list("") == {}


def test_a_bucket_that_is_not_there(s3: S3) -> None:
    store = RemoteStore("s3://no-such-bucket/runs", s3.options)
    began = time.monotonic()
    for ask in (store.check, store.artifacts, lambda: store.find("teacher", "f")):
        with pytest.raises(ResourceError, match="no such bucket"):
            ask()
    assert time.monotonic() - began < 5


def test_an_address_where_nobody_answers() -> None:
    pytest.importorskip("s3fs")
    options = {**S3(None, "http://127.0.0.1:9").options}
    store = RemoteStore(f"s3://{BUCKET}/x", options, patience=0.5)
    with pytest.raises(ResourceError, match="does not answer") as error:
        store.check()
    assert "AWS_ENDPOINT_URL" in str(error.value)


def test_no_credentials(s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ResourceError, match="no credentials"):
        RemoteStore(f"s3://{BUCKET}/x", {"endpoint_url": s3.url}).check()


def test_refused_with_no_key_in_the_message(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = s3.store(tmp_path.name)
    real = s3.app

    def refuse(environ: dict[str, object], start_response: object) -> list[bytes]:
        text = f"<Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>{KEY}</AWSAccessKeyId></Error>".encode()
        start_response("403 Forbidden", [("Content-Length", str(len(text)))])  # type: ignore[operator]
        return [text]

    s3.app = refuse
    try:
        with pytest.raises(ResourceError, match=r"refuses access \(403 InvalidAccessKeyId\)") as error:
            store.check()
    finally:
        s3.app = real
    assert len(s3.requests) <= 3  # nothing is tried again
    for text in (str(error.value), repr(store), repr(store._objects)):
        assert KEY not in text
        assert SECRET not in text
    with pytest.raises(ResourceError) as error:
        RemoteStore(f"ftp://{KEY}:{SECRET}@127.0.0.1/x").check()
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("url", ["s3:/bucket/x", "nosuch://x", "http://127.0.0.1/x", "zip://a::memory://b", "s3:x"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ResourceError):
        RemoteStore(url).check()


def test_the_package_for_s3_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(ResourceError, match=r"mome-orchestrator\[s3\]"):
        RemoteStore("s3://bucket/x").check()


def test_a_folder_that_cant_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="Not a directory"):
        RemoteStore(str(tmp_path / "file" / "store")).check()


def test_other_artifacts_are_left_alone(store: RemoteStore, tmp_path: Path) -> None:
    made = folder_of(tmp_path / "made", {"a": b"1"})
    store.publish("teacher", "f", made)
    (tmp_path / "got").mkdir()
    (tmp_path / "got" / "mine").write_text("mine")
    assert store.fetch("teacher", "f", tmp_path / "got")
    assert files_of(tmp_path / "got") == {"mine": b"mine"}
