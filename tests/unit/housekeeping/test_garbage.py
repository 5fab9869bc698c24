"""What `mome gc` deletes, and above all what it does not."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from orchestrator.artifacts import Artifact, Store
from orchestrator.housekeeping.garbage import Garbage, delete_garbage, find_garbage, freed
from orchestrator.locks import locked
from orchestrator.mixtures.versions import Versions
from tests.unit.housekeeping.made import finish, make, plan, work


def deletable(found: Garbage) -> set[str]:
    return {item.path.relative_to(found.root).as_posix() for item in found.deletable}


def kept(found: Garbage) -> dict[str, str]:
    return {item.path.relative_to(found.root).as_posix(): item.kept for item in found.items if item.kept}


def name(artifact: Artifact, root: Path) -> str:
    return artifact.folder.relative_to(root).as_posix()


def test_what_an_earlier_recipe_has_made(tmp_path: Path) -> None:
    root = tmp_path / "one"
    old, now = finish(root, "teacher", text="old")["teacher"], finish(root, "teacher", text="new")["teacher"]
    found = find_garbage(root)
    assert deletable(found) == {name(old, root)}
    assert kept(found) == {name(now, root): "artifacts.json, the latest plan"}
    size = sum(path.stat().st_blocks for path in old.folder.iterdir()) * 512
    assert freed(found.deletable) == found.deletable[0].bytes == size
    assert old.folder.exists()
    assert deletable(delete_garbage(root)) == {name(old, root)}
    assert not old.folder.exists()
    assert Store(root).current() == {"teacher": now}
    assert delete_garbage(root).deletable == ()


def test_what_a_version_or_an_unfinished_plan_has(tmp_path: Path) -> None:
    root = tmp_path / "one"
    first = finish(root, "teacher", "corpus", text="old")
    recipe = {"corpus": {"languages": {}}}
    Versions(root).publish("trained", None, recipe, {"teacher": first["teacher"]})
    finish(root, "teacher", text="new")
    plan(root, "teacher", "expert-en", text="newer")
    planned = make(root, "teacher", "newer")
    found = find_garbage(root)
    assert deletable(found) == {name(first["corpus"], root)}
    assert kept(found)[name(first["teacher"], root)] == "version 1"
    assert kept(found)[name(planned, root)] == "the latest plan"
    (root / "mixtures" / "1" / "version.json").write_text("{")
    assert find_garbage(root).left_alone.startswith("version 1 can't be read")


def test_work_that_may_be_gone_on_from_stays(tmp_path: Path) -> None:
    root = tmp_path / "one"
    finish(root, "corpus")
    done, other = work(root, "corpus"), work(root, "teacher", "other")
    plan(root, "corpus", "teacher")
    planned = work(root, "teacher")
    found = find_garbage(root)
    names = {folder: folder.relative_to(root).as_posix() for folder in (done, other, planned)}
    assert deletable(found) == {names[done]}
    assert kept(found)[names[other]] == "--checkpoints includes it"
    assert kept(found)[names[planned]] == "the latest plan goes on from it"
    assert deletable(find_garbage(root, checkpoints=True)) == {names[done], names[other]}
    delete_garbage(root, checkpoints=True)
    assert [done.exists(), other.exists(), planned.exists()] == [False, False, True]


def test_leftovers_of_killed_publications(tmp_path: Path) -> None:
    root = tmp_path / "one"
    finish(root, "corpus")
    for folder in ("stages/corpus/.ab.12", "mixtures/.1.12", ".report.12"):
        (root / folder).mkdir(parents=True)
    (root / ".recipe.json.17.tmp").write_text("{")
    found = deletable(delete_garbage(root))
    assert found == {"stages/corpus/.ab.12", "mixtures/.1.12", ".report.12", ".recipe.json.17.tmp"}
    assert not list(root.rglob(".*"))


def test_what_another_run_has_linked_stays_there_and_frees_nothing(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    old = finish(one, "teacher", text="old")["teacher"]
    linked = Store(two).adopt("teacher", old)
    Store(two).set_current("two", {"teacher": linked})
    finish(one, "teacher", text="new")
    found = find_garbage(one)
    assert deletable(found) == {name(old, one)}
    assert freed(found.deletable) == 0 < found.deletable[0].bytes
    delete_garbage(one)
    assert Artifact.open(linked.folder, deep=True)
    (two / "artifacts.json").write_text('{"steps": {}}')
    assert freed(find_garbage(two).deletable) == found.deletable[0].bytes
    both = [*find_garbage(two).deletable, *find_garbage(one).deletable]
    assert freed(both) == found.deletable[0].bytes


@pytest.mark.parametrize("where", ["artifacts.json", "recipe.json", "mixtures/3/version.json"])
def test_what_another_run_refers_to_by_its_path(tmp_path: Path, where: str) -> None:
    one, two = tmp_path / "my run", tmp_path / "two"
    old = finish(one, "teacher", text="old")["teacher"]
    finish(one, "teacher", text="new")
    finish(two, "corpus")
    (two / where).parent.mkdir(parents=True, exist_ok=True)
    if where == "artifacts.json":
        Store(two).set_current("two", {"teacher": old})
    else:
        model = {"type": "pretrained", "name": str(old.folder / "model")}
        (two / where).write_text(json.dumps({"teacher": {"model": model}}))
    found = find_garbage(one)
    assert deletable(found) == set()
    assert kept(found)[name(old, one)] == f"{Path(where).name} of two"


def test_a_run_at_work_is_left_alone(tmp_path: Path) -> None:
    finish(tmp_path, "teacher", text="old")
    finish(tmp_path, "teacher", text="new")
    with locked(tmp_path):
        for found in (find_garbage(tmp_path), delete_garbage(tmp_path)):
            assert found.left_alone.startswith("at work: process ")
            assert found.items == ()
    assert len(list(tmp_path.glob("stages/teacher/*"))) == 2


def test_a_run_that_takes_up_work_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(tmp_path, "teacher", text="old")
    finish(tmp_path, "teacher", text="new")
    monkeypatch.setattr("orchestrator.housekeeping.garbage.holder", lambda _: None)
    with locked(tmp_path):
        assert "at work" in delete_garbage(tmp_path).left_alone
    assert len(list(tmp_path.glob("stages/teacher/*"))) == 2


@pytest.mark.parametrize("text", ["{", None])
def test_where_nothing_says_what_is_needed_all_stays(tmp_path: Path, text: str | None) -> None:
    make(tmp_path, "teacher")
    if text is not None:
        (tmp_path / "artifacts.json").write_text(text)
    found = delete_garbage(tmp_path)
    assert found.left_alone
    assert found.items == ()
    assert list(tmp_path.glob("stages/teacher/*/text"))


def test_what_a_release_without_plans_left_unfinished(tmp_path: Path) -> None:
    old = finish(tmp_path, "teacher", text="old")["teacher"]
    finish(tmp_path, "teacher", text="now")
    (tmp_path / "steps.jsonl").unlink()
    os.utime(old.folder, (0, 0))
    newer = make(tmp_path, "teacher", "newer")
    os.utime(newer.folder, (time.time() + 60,) * 2)
    found = find_garbage(tmp_path)
    assert deletable(found) == {name(old, tmp_path)}
    assert kept(found)[name(newer, tmp_path)] == "a run that is not finished"
