"""Runs in a store: pushed and pulled whole, twice for nothing, and again after an interruption."""

from __future__ import annotations

import itertools
import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.artifacts import MANIFEST, Store, write_json
from orchestrator.errors import ArtifactError, ResourceError
from orchestrator.housekeeping.copies import Copied
from orchestrator.housekeeping.pulling import pull
from orchestrator.housekeeping.pushing import push
from orchestrator.housekeeping.states import run_states, steps_of_run
from orchestrator.locks import locked
from orchestrator.mixtures.versions import Versions
from orchestrator.remote.store import RemoteStore
from tests.unit.housekeeping.made import finish, make, plan, work
from tests.unit.remote.server import BUCKET, KEY, S3, SECRET, served

ROOT = Path(__file__).parents[3]
NOTHING = Copied()


def quiet(line: str) -> None:
    pass


def made_run(root: Path) -> Path:
    """A finished run with a version, a report, checkpoints, a tracker's file, and an artifact of an earlier recipe."""
    finish(root, "teacher", text="old")
    steps = finish(root, "teacher", "corpus", "report", text="new")
    write_json(root / "recipe.json", {"corpus": {"languages": {}}})
    Versions(root).publish("trained", None, {"corpus": {"languages": {}}}, steps)
    work(root, "expert-en")
    (root / "mlflow.db").write_bytes(b"sqlite")
    (root / "report").mkdir()
    for file in steps["report"].folder.iterdir():
        (root / "report" / file.name).write_bytes(file.read_bytes())
    return root


def files_of(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def copied_files(root: Path) -> dict[str, bytes]:
    left = ("work/", "mlflow.db", "run.lock")
    return {name: data for name, data in files_of(root).items() if not name.startswith(left)}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "store")


def test_there_and_back(tmp_path: Path, url: str) -> None:
    root = made_run(tmp_path / "a" / "one")
    copied = push(root, url, quiet)
    assert (copied.artifacts, copied.has_changed) == (4, True)  # of the report and the version nothing is sent twice
    before = files_of(tmp_path / "store")
    assert push(root, url, quiet) == NOTHING
    assert files_of(tmp_path / "store") == before
    there, copied = pull(f"{url}/one", tmp_path / "b", quiet)
    assert (there, copied.artifacts) == (tmp_path / "b" / "one", 4)
    assert copied_files(there) == copied_files(root)
    assert pull(f"{url}/one", tmp_path / "b", quiet)[1] == NOTHING
    assert push(there, url, quiet) == NOTHING
    assert (there / "mixtures/1/teacher/text").samefile(Store(there).current()["teacher"].folder / "text")
    assert [state.state for state in run_states(tmp_path / "b")] == ["finished"]
    assert (there / "artifacts.json").stat().st_mtime_ns == (root / "artifacts.json").stat().st_mtime_ns


def test_a_run_that_is_not_finished(tmp_path: Path, url: str) -> None:
    root = tmp_path / "a" / "one"
    plan(root, "corpus", "teacher").started("corpus")
    make(root, "corpus")
    with locked(root):  # a command is at work
        assert push(root, url, quiet).artifacts == 1
    there, _ = pull(f"{url}/one", tmp_path / "b", quiet)
    assert steps_of_run(there).keys() == {"corpus", "teacher"}
    assert copied_files(there) == copied_files(root)
    make(root, "teacher")
    assert push(root, url, quiet).artifacts == 1
    assert pull(f"{url}/one", tmp_path / "b", quiet)[1].artifacts == 1
    assert copied_files(there) == copied_files(root)


def test_an_artifact_that_was_made_again(tmp_path: Path, url: str) -> None:
    root = made_run(tmp_path / "a" / "one")
    push(root, url, quiet)
    there, _ = pull(f"{url}/one", tmp_path / "b", quiet)
    teacher = Store(root).current()["teacher"]
    Store(root).publish("teacher", teacher.fingerprint, {"step": "teacher", "seconds": 2}, lambda out: None)
    assert push(root, url, quiet).artifacts == 1
    assert pull(f"{url}/one", tmp_path / "b", quiet)[1].artifacts == 1
    assert copied_files(there) == copied_files(root)
    assert (there / "mixtures/1/teacher" / MANIFEST).read_bytes() != (teacher.folder / MANIFEST).read_bytes()


def test_the_run_here_has_changed(tmp_path: Path, url: str) -> None:
    root = made_run(tmp_path / "a" / "one")
    push(root, url, quiet)
    there, _ = pull(f"{url}/one", tmp_path / "b", quiet)
    Versions(there).publish("add es", 1, {"corpus": {"languages": {}}}, {"teacher": make(there, "teacher", "es")})
    with pytest.raises(ArtifactError, match="has changed since it was pushed"):
        pull(f"{url}/one", tmp_path / "b", quiet)
    assert push(there, url, quiet).artifacts == 1
    said: list[str] = []
    assert push(root, url, said.append) == NOTHING  # it is what it was
    assert "mome pull" in said[-1]
    assert pull(f"{url}/one", tmp_path / "a", quiet)[1].artifacts == 1
    assert copied_files(root) == copied_files(there)
    assert Versions(root).numbers() == [1, 2]


def test_a_run_with_nothing_to_do_changes_nothing(tmp_path: Path, url: str) -> None:
    root = made_run(tmp_path / "a" / "one")
    push(root, url, quiet)
    there, _ = pull(f"{url}/one", tmp_path / "b", quiet)
    steps = Store(there).current()
    Store(there).set_current("one", dict(reversed(steps.items())))
    assert push(there, url, quiet) == NOTHING
    assert pull(f"{url}/one", tmp_path / "b", quiet)[1] == NOTHING


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("what", ["publish", "fetch"])
def test_interrupted_anywhere(tmp_path: Path, url: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each call in turn: afterwards nothing half can be read, and the same command ends."""
    real, root, left = getattr(RemoteStore, what), made_run(tmp_path / "a" / "one"), [0]

    def interrupt(*arguments: object, **more: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            raise Interrupted
        return real(*arguments, **more)

    monkeypatch.setattr(RemoteStore, what, interrupt)
    for call in range(1, 20):
        store, runs = f"{url}{call}", tmp_path / f"b{call}"
        left[0] = call
        try:
            push(root, store, quiet)
            pull(f"{store}/one", runs, quiet)
            break
        except Interrupted:
            for manifest in [*runs.glob("one/stages/*/*/"), *runs.glob("one/mixtures/[0-9]*/*/")]:
                assert (manifest / MANIFEST).is_file()
            push(root, store, quiet)
            pull(f"{store}/one", runs, quiet)
            assert copied_files(runs / "one") == copied_files(root)
    assert call > 5


def test_what_is_refused(tmp_path: Path, url: str) -> None:
    root = made_run(tmp_path / "a" / "one")
    with pytest.raises(ArtifactError, match="no run 'one'"):
        pull(f"{url}/one", tmp_path / "b", quiet)
    assert not (tmp_path / "b").exists()
    for address in ("", "/", "one", "s3://bucket", f"{url}/.."):
        with pytest.raises((ArtifactError, ResourceError)):
            pull(address, tmp_path / "b", quiet)
    teacher = Store(root).current()["teacher"].folder / "text"
    text = teacher.read_text()
    teacher.write_text(text.swapcase())
    with pytest.raises(ArtifactError, match="changed since it was published"):
        push(root, url, quiet)
    with pytest.raises(ArtifactError, match="no run 'one'"):
        pull(f"{url}/one", tmp_path / "b", quiet)
    teacher.write_text(text)
    push(root, url, quiet)


@pytest.mark.parametrize("name", ["run.lock", "../two/artifacts.json", "stages/x", "work/x"])
def test_records_that_lead_elsewhere(tmp_path: Path, url: str, name: str) -> None:
    root = made_run(tmp_path / "a" / "one")
    push(root, url, quiet)
    store = RemoteStore(f"{url}/one")
    store.fetch("records", "00000001", tmp_path / "records")
    identity = json.loads((tmp_path / "records" / "identity.json").read_text())
    identity["folders"][name] = next(iter(identity["folders"].values()))
    (tmp_path / "records" / "identity.json").write_text(json.dumps(identity))
    store.publish("records", "00000002", tmp_path / "records")
    with pytest.raises(ArtifactError, match="which no run has"):
        pull(f"{url}/one", tmp_path / "b", quiet)
    assert not (tmp_path / "b").exists()


def test_a_sweep(tmp_path: Path, url: str) -> None:
    root = tmp_path / "a" / "one"
    finish(root, "trial-1")
    write_json(root / "sweep.json", {"stopped": {}})
    (root / "report" / "figures").mkdir(parents=True)
    (root / "report" / "figures" / "a.svg").write_text("<svg/>")
    push(root, url, quiet)
    there, _ = pull(f"{url}/one", tmp_path / "b", quiet)
    assert copied_files(there) == copied_files(root)


@pytest.mark.slow
def test_killed_while_a_third_of_the_requests_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands killed at a request of a seeded choice: a reader sees no run or the whole one, and the last try ends."""
    root, dice, kills = made_run(tmp_path / "a" / "one"), random.Random(15), 0
    url, runs = f"s3://{BUCKET}/killed", tmp_path / "b"
    with served() as s3:
        for name, value in {"ENDPOINT_URL": s3.url, "ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": SECRET}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        for command in (("push", str(root), url), ("pull", f"{url}/one", "--runs", str(runs))):
            code = -signal.SIGKILL
            while code == -signal.SIGKILL:
                s3.fails = 1 / 3
                code = killed_at(s3, command, dice.randint(5, 60 + 20 * kills))
                kills += code == -signal.SIGKILL
                s3.fails = 0.0
                if code and command[0] == "push":
                    with pytest.raises(ArtifactError, match="no run"):
                        pull(f"{url}/one", tmp_path / "c", quiet)
            assert code == 0
        assert kills > 3
        store = RemoteStore(f"{url}/one")
        store.sweep(-5)
        used = sum(len(commit.files) for name in store.artifacts() if (commit := store.find(*name)))
        assert len(store._objects.list("files")) == used
    whole = {name: data for name, data in copied_files(runs / "one").items() if "/." not in name}
    assert whole == copied_files(root)


def killed_at(s3: S3, command: tuple[str, ...], request: int) -> int:
    """Exit code of a command that is killed at the n-th request that it makes."""
    heard = itertools.count(1)
    process = subprocess.Popen([sys.executable, "-m", "orchestrator.cli.main", *command], cwd=ROOT)
    s3.hear = lambda method, path: process.kill() if next(heard) == request else None
    try:
        return process.wait()
    finally:
        s3.hear = lambda method, path: None
