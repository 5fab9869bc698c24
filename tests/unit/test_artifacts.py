import errno
import json
import os
import shutil

import pytest
from safetensors import SafetensorError

from orchestrator.artifacts import Artifact, Store, check_files, digest, write_json
from orchestrator.errors import ArtifactError, ResourceError

FINGERPRINT = "ab" * 32


def publish(store, text="hello"):
    return store.publish("step", FINGERPRINT, {"step": "step"}, lambda out: (out / "a.txt").write_text(text) and None)


def test_digest_ignores_key_order_and_sees_values():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_publish_then_find(tmp_path):
    store = Store(tmp_path)
    assert store.find("step", FINGERPRINT) is None
    artifact = publish(store)
    assert store.find("step", FINGERPRINT) == artifact
    assert artifact.fingerprint == FINGERPRINT
    assert artifact.manifest["files"]["a.txt"]["bytes"] == 5


def test_what_another_run_has_made_is_linked_and_outlives_it(tmp_path):
    made = publish(Store(tmp_path / "one")).folder
    store = Store(tmp_path / "two")
    assert store.find("step", FINGERPRINT) is None
    found = store.adopt("step", store.elsewhere("step", FINGERPRINT))
    assert found.folder.is_relative_to(tmp_path / "two")
    assert (found.folder / "a.txt").samefile(made / "a.txt")
    shutil.rmtree(tmp_path / "one")
    assert Artifact.open(found.folder, deep=True).fingerprint == FINGERPRINT
    assert store.elsewhere("step", "cd" * 32) is None


def test_what_another_run_has_damaged_is_left_alone(tmp_path):
    (publish(Store(tmp_path / "one")).folder / "a.txt").unlink()
    assert Store(tmp_path / "two").elsewhere("step", FINGERPRINT) is None
    same_prefix = FINGERPRINT[:-2] + "00"
    publish(Store(tmp_path / "three"))
    assert Store(tmp_path / "two").elsewhere("step", same_prefix) is None


def test_a_failing_writer_leaves_nothing(tmp_path):
    def write(out):
        (out / "half.txt").write_text("half")
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        Store(tmp_path).publish("step", FINGERPRINT, {}, write)
    assert list((tmp_path / "stages" / "step").iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), SafetensorError("I/O error: No space left (os error 28)")],
)
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, error):
    def write(out):
        raise error

    with pytest.raises(ResourceError, match="no space left"):
        Store(tmp_path).publish("step", FINGERPRINT, {}, write)
    assert list((tmp_path / "stages" / "step").iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / "a.txt").unlink(),
        lambda folder: (folder / "a.txt").write_text("longer than before"),
    ],
)
def test_damage_is_found_and_the_remedy_named(tmp_path, damage):
    store = Store(tmp_path)
    damage(publish(store).folder)
    with pytest.raises(ArtifactError) as caught:
        store.find("step", FINGERPRINT)
    assert "delete" in caught.value.fix


def test_deep_check_sees_changed_bytes(tmp_path):
    folder = publish(Store(tmp_path)).folder
    (folder / "a.txt").write_text("jello")
    assert Artifact.open(folder)
    with pytest.raises(ArtifactError, match="changed"):
        Artifact.open(folder, deep=True)


def overwrite(path):
    """As a bad disk does: as long as before, at no other time."""
    facts = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = b"\xff" * (len(data) - len(data) // 2)
    path.write_bytes(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))


def test_damage_names_the_file_the_run_and_the_step_that_wrote_it(tmp_path):
    store = Store(tmp_path / "mine")

    def write(out):
        (out / "model").mkdir()
        (out / "model" / "weights").write_text("weights of Spanish")

    expert = store.publish("expert-es", FINGERPRINT, {"step": "expert-es"}, write)
    manifest = {"step": "mixture", "inputs": {"expert-es": FINGERPRINT}}

    def link(out):
        shutil.copytree(expert.folder / "model", out / "experts" / "es", copy_function=os.link)
        (out / "mixture.json").write_text("{}")

    mixture = store.publish("mixture", "cd" * 32, manifest, link)
    overwrite(expert.folder / "model" / "weights")
    for made, step in ((expert, "expert-es"), (mixture, "mixture")):
        with pytest.raises(ArtifactError) as caught:
            made.check()
        assert f"weights of {step} in the run mine has changed" in caught.value.what
        assert caught.value.fix == "make it again: mome run RECIPE --force expert-es"
        assert Artifact.open(made.folder)  # a plan looks at sizes only


def test_what_is_about_to_be_used_is_checked_and_nothing_else(tmp_path):
    store = Store(tmp_path)

    def write(out):
        for name in ("en", "fr"):
            (out / "experts" / name).mkdir(parents=True)
            (out / "experts" / name / "weights").write_text(f"weights of {name}")

    folder = store.publish("mixture", FINGERPRINT, {}, write).folder
    overwrite(folder / "experts" / "fr" / "weights")
    check_files(folder / "experts" / "en")
    for damaged in (folder, folder / "experts" / "fr", folder / "experts" / "fr" / "weights"):
        with pytest.raises(ArtifactError, match="weights of"):
            check_files(damaged)
    (folder / "experts" / "fr" / "weights").unlink()
    with pytest.raises(ArtifactError, match="can't be read"):
        check_files(folder / "experts" / "fr")


@pytest.mark.parametrize("manifest", ["{", "[]", '{"files": 3, "fingerprint": "a"}', '{"name": "an extension"}'])
def test_a_folder_of_somebody_else_is_taken_as_it_is(tmp_path, manifest):
    (tmp_path / "manifest.json").write_text(manifest)
    (tmp_path / "model").mkdir()
    check_files(tmp_path / "model")


def test_caches_check_their_blocks_themselves(tmp_path):
    name = "shard-00000.safetensors"
    made = Store(tmp_path).publish("cache-en", FINGERPRINT, {}, lambda out: (out / name).write_text("a") and None)
    overwrite(made.folder / name)
    assert made.check() is made


def test_a_published_file_is_hashed_once(tmp_path, monkeypatch):
    hashed = []
    monkeypatch.setattr("orchestrator.artifacts.file_digest", lambda path: hashed.append(path.name) or "digest")
    monkeypatch.setattr("orchestrator.disk.file_digest", lambda path: hashed.append(path.name) or "digest")
    monkeypatch.setattr("orchestrator.disk._CLOCK_NS", -(10**12))
    publish(Store(tmp_path)).check()
    assert hashed == ["a.txt"]


def test_current_points_at_artifacts(tmp_path):
    store = Store(tmp_path)
    for damaged in (None, "{", "[1]", "{}", '{"steps": [1]}', '{"steps": null}'):
        if damaged is not None:
            (tmp_path / "artifacts.json").write_text(damaged)
        with pytest.raises(ArtifactError, match="no finished run"):
            store.current()
    artifact = publish(store)
    store.set_current("recipe", {"step": artifact})
    assert store.current() == {"step": artifact}
    assert json.loads((tmp_path / "artifacts.json").read_text())["steps"]["step"].startswith("stages/step/")


def test_clean_removes_what_killed_attempts_left(tmp_path):
    store = Store(tmp_path)
    publish(store)
    (tmp_path / "stages" / "step" / ".half.xyz").mkdir()
    store.work("step", FINGERPRINT).mkdir(parents=True)
    store.work("other", FINGERPRINT).mkdir(parents=True)
    store.clean()
    assert [p.name for p in (tmp_path / "stages" / "step").iterdir()] == [FINGERPRINT[:16]]
    assert not store.work("step", FINGERPRINT).exists()
    assert store.work("other", FINGERPRINT).exists()


def test_write_json_replaces_whole(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    write_json(tmp_path / "a.json", {"a": 2})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
