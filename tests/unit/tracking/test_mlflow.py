"""A run as MLflow's own store gives it back: SQLite, and servers that are not there."""

from __future__ import annotations

import json
import re
import shutil
import socket
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

mlflow = pytest.importorskip("mlflow")

from mlflow.tracking import MlflowClient  # noqa: E402

from orchestrator.tracking import RunFacts, is_unfinished, mlflow_tracker  # noqa: E402
from orchestrator.tracking.mlflow import MlflowRun  # noqa: E402
from orchestrator.tracking.store import local_store  # noqa: E402
from orchestrator.tracking.values import leaves, numbers  # noqa: E402


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose SQLite store MLflow itself has made, once: that takes seconds."""
    folder = tmp_path_factory.mktemp("run")
    MlflowClient(tracking_uri=local_store(folder), registry_uri=local_store(folder)).search_experiments()
    return folder


def facts(folder: Path, name: str = "quick", **recipe: Any) -> RunFacts:
    recipe = {"name": name, "seed": 17, "corpus": {"languages": {"en": "miniwiki"}}, **recipe}
    configs = {"teacher": {"seed": 1, "teacher": {"lr": 0.1}}, "corpus": {"seed": 17}}
    return RunFacts(name, folder, f"test-{name}", recipe, {"teacher": "f" * 64, "corpus": "c" * 64}, configs)


def client(folder: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=local_store(folder), registry_uri=local_store(folder))


def runs(folder: Path, name: str) -> dict[str, Any]:
    experiment = client(folder).get_experiment_by_name(f"test-{name}")
    found = client(folder).search_runs([experiment.experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def publish(folder: Path) -> Path:
    artifact = folder / "stages" / "teacher" / "ffff"
    (artifact / "model").mkdir(parents=True, exist_ok=True)
    (artifact / "model" / "config.json").write_text("{}")
    (artifact / "manifest.json").write_text("{}")
    report = folder / "report"
    report.mkdir(exist_ok=True)
    (report / "index.html").write_text("<p>")
    (report / "results.json").write_text(json.dumps({"teacher_perplexity": {"en": 31.5}, "versions": {"torch": "2"}}))
    return artifact


def test_a_run_has_nested_runs_metrics_report_and_registered_models(store: Path) -> None:
    artifact = publish(store)
    run = MlflowRun(local_store(store), facts(store))
    run.started("teacher")
    run.metrics(
        "teacher", [{"step": 1, "steps": 2, "loss": 5.0, "message": "hi"}, {"step": 2, "loss": float("nan"), "lr": 0.1}]
    )
    manifest = {
        "seconds": 3.5,
        "peak_memory_bytes": 7,
        "fingerprint": "f" * 64,
        "inputs": {"blocks": "b" * 64, "joint@2": "c"},
    }
    run.finished("teacher", manifest, artifact)
    run.close(store / "report")

    found = runs(store, "quick")
    parent, teacher = found["quick"], found["teacher"]
    assert teacher.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (parent.info.status, teacher.info.status) == ("FINISHED", "FINISHED")
    assert parent.data.params["corpus.languages.en"] == "miniwiki"
    assert teacher.data.params["teacher.lr"] == "0.1"
    assert parent.data.metrics["teacher_perplexity.en"] == 31.5
    assert teacher.data.metrics["seconds"] == 3.5
    history = client(store).get_metric_history(teacher.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 5.0)]
    assert [item.path for item in client(store).list_artifacts(parent.info.run_id, "report")] == [
        "report/index.html",
        "report/results.json",
    ]
    (version,) = client(store).search_model_versions("name='quick-teacher'")
    assert version.run_id == teacher.info.run_id
    assert version.tags["mome.input.blocks"] == "b" * 64
    assert version.tags["mome.input.joint:2"] == "c"  # MLflow 3.17 takes no @ in a tag's name
    assert version.source == (artifact / "model").as_uri()


def test_a_store_that_a_run_begins_is_as_mlflow_makes_it(store: Path, tmp_path: Path) -> None:
    def tables(folder: Path) -> list[Any]:
        with closing(sqlite3.connect(folder / "mlflow.db")) as database:
            version = database.execute("SELECT * FROM alembic_version").fetchall()
            found = database.execute("SELECT name, sql FROM sqlite_master ORDER BY name")
            # MLflow's migrations write a table's checks in any order.
            return version + [(name, sorted(re.split(r",?\s*\n\s*", sql or ""))) for name, sql in found]

    MlflowRun(local_store(tmp_path), facts(tmp_path)).close(None)
    assert tables(tmp_path) == tables(store)
    assert [file.name for file in tmp_path.iterdir() if "mlflow" in file.name] == ["mlflow.db"]


def test_finishing_again_after_it_failed_makes_no_second_version(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = publish(store)
    run = MlflowRun(local_store(store), facts(store, "retried"))
    run.started("teacher")
    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "set_terminated", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run.finished("teacher", {"fingerprint": "f" * 64}, artifact)
    run.finished("teacher", {"fingerprint": "f" * 64}, artifact)
    (version,) = client(store).search_model_versions("name='retried-teacher'")
    assert version.tags["mome.fingerprint"] == "f" * 64


def test_an_interrupted_run_goes_on_in_the_same_runs(store: Path) -> None:
    first = MlflowRun(local_store(store), facts(store, "resumed"))
    first.started("corpus")
    first.finished("corpus", {}, store)
    first.started("teacher")
    before = runs(store, "resumed")

    second = MlflowRun(local_store(store), facts(store, "resumed"))  # killed: no close
    second.started("teacher")
    second.failed("teacher", ValueError("out of luck"))
    second.close(None)
    after = runs(store, "resumed")
    assert {name: run.info.run_id for name, run in after.items()} == {
        name: run.info.run_id for name, run in before.items()
    }
    assert after["teacher"].data.tags["mome.error"] == "out of luck"
    assert {name: run.info.status for name, run in after.items()} == {
        "resumed": "FAILED",
        "corpus": "FINISHED",
        "teacher": "FAILED",
    }


def test_names_that_mlflow_refuses_are_written_with_underscores(store: Path) -> None:
    sweeps = {"recipe": {"the paper's recipe, 100 %": {"seed": 3}}}
    run = MlflowRun(local_store(store), facts(store, "names", sweeps=sweeps))
    run.started("joint-moe_ce@2")
    run.metrics("joint-moe_ce@2", [{"step": 1, "steps": 2, "it's": 0.5}])
    run.finished("joint-moe_ce@2", {"seconds": 1.0}, publish(store))
    run.close(None)
    found = runs(store, "names")
    assert found["names"].data.params["sweeps.recipe.the paper_s recipe_ 100 _.seed"] == "3"
    assert found["joint-moe_ce@2"].data.metrics["it_s"] == 0.5


def test_another_recipe_gets_runs_of_its_own(store: Path) -> None:
    first = MlflowRun(local_store(store), facts(store, "changed"))
    second = MlflowRun(local_store(store), facts(store, "changed", seed=18))
    assert first._parent != second._parent


def test_what_is_still_open_at_the_end_was_killed(store: Path) -> None:
    run = MlflowRun(local_store(store), facts(store, "open"))
    run.started("teacher")
    run.close(None)
    assert {r.info.status for r in runs(store, "open").values()} == {"KILLED"}


def test_a_step_that_fails_before_it_began_has_a_run(store: Path) -> None:
    run = MlflowRun(local_store(store), facts(store, "early"))
    run.failed("teacher", ValueError("no compiler"))
    run.close(None)
    assert runs(store, "early")["teacher"].info.status == "FAILED"


def test_a_closed_port_does_not_stop_a_run(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    lines: list[str] = []
    tracker = mlflow_tracker(facts(tmp_path), f"http://127.0.0.1:{port}", lines.append)
    assert tracker is not None
    tracker.started("teacher")
    tracker.metrics("teacher", [{"step": 1, "loss": 1.0}])
    tracker.close(None)
    assert f"http://127.0.0.1:{port} can't be written to" in lines[0]
    assert "the run goes on" in lines[0]


def test_only_finite_numbers_of_a_step_are_metrics() -> None:
    rows = [{"step": 3, "steps": 9, "loss": 2, "nan": float("nan"), "ok": True, "text": "x"}, {"message": "m", "x": 1}]
    assert list(numbers(rows)) == [("loss", 2.0, 3)]


def test_leaves_have_dotted_names() -> None:
    assert dict(leaves({"a": {"b": 1, "c": []}, "d": {}})) == {"a.b": 1, "a.c": [], "d": {}}


def test_infinity_is_no_metric() -> None:
    """MLflow 3.17 would store it as 1.8e308, a number like any other."""
    rows = [{"step": 1, "high": float("inf"), "low": float("-inf"), "soft": None, "loss": 1.5}]
    assert list(numbers(rows)) == [("loss", 1.5, 1)]


def test_a_folder_of_any_name_is_tracked_in_itself_alone(tmp_path: Path) -> None:
    folder = tmp_path / '50% of a%20b?x=1#h "it\'s" é中;&\\'
    folder.mkdir()
    artifact = publish(folder)
    run = MlflowRun(local_store(folder), facts(folder, "odd"))
    run.started("teacher")
    run.finished("teacher", {"seconds": 1.0}, artifact)
    run.close(folder / "report")
    found = runs(folder, "odd")
    assert found["teacher"].data.metrics["seconds"] == 1.0
    kept = folder / "mlruns" / found["odd"].info.run_id / "artifacts" / "report" / "results.json"
    assert kept.read_bytes() == (folder / "report" / "results.json").read_bytes()
    assert (folder / "mlflow.db").is_file()
    assert list(tmp_path.iterdir()) == [folder]


def begin(folder: Path, name: str) -> MlflowRun:
    """A run with an artifact."""
    run = MlflowRun(local_store(folder), facts(folder, name))
    run.started("teacher")
    run.finished("teacher", {"seconds": 1.0, "fingerprint": "f" * 64}, publish(folder))
    return run


def test_a_copied_and_a_moved_run_track_into_their_own_place(store: Path, tmp_path: Path) -> None:
    old, copied, moved = (tmp_path / name for name in ("old", "copied", "moved"))
    old.mkdir()
    shutil.copy(store / "mlflow.db", old)
    begin(old, "place")  # killed: no close
    shutil.copytree(old, copied)
    before = sorted(old.rglob("*"))

    begin(copied, "place").close(copied / "report")
    assert sorted(old.rglob("*")) == before
    first = runs(copied, "place")
    assert all(run.info.artifact_uri.startswith((copied / "mlruns").as_uri()) for run in first.values())
    assert (copied / "mlruns" / first["place"].info.run_id / "artifacts" / "report" / "index.html").is_file()
    names = {experiment.name for experiment in client(copied).search_experiments()}
    assert f"test-place at {(old / 'mlruns').as_uri()}" in names

    copied.rename(moved)
    begin(moved, "place")
    assert not copied.exists()
    moved.rename(copied)  # and back again: the experiment of this place is taken up
    begin(copied, "place")
    names = {experiment.name for experiment in client(copied).search_experiments()}
    assert f"test-place at {(moved / 'mlruns').as_uri()}" in names
    assert f"test-place at {(copied / 'mlruns').as_uri()}" not in names
    found = client(copied).get_experiment_by_name("test-place")
    assert first["place"].info.experiment_id == found.experiment_id


def test_a_run_reached_by_a_link_goes_on_where_it_is(store: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    shutil.copy(store / "mlflow.db", tmp_path / "real")
    first = begin(tmp_path / "real", "linked")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert begin(tmp_path / "link", "linked")._parent == first._parent


def test_mlflows_own_experiment_is_no_way_out_of_the_folder(store: Path, tmp_path: Path) -> None:
    """It is made with the place of artifacts below where the command was typed."""
    shutil.copy(store / "mlflow.db", tmp_path)
    run = MlflowRun(local_store(tmp_path), replace(facts(tmp_path, "default"), experiment="Default"))
    run.started("teacher")
    found = client(tmp_path).get_experiment_by_name("Default")
    assert found.artifact_location == (tmp_path / "mlruns").as_uri()


def rows(*steps: int) -> list[dict[str, Any]]:
    return [{"step": step, "steps": 9, "loss": step / 2, "lr": 0.1} for step in steps]


def points(folder: Path, name: str, run: str) -> list[tuple[int, float]]:
    """Of the loss, in the order in which they were written."""
    found = runs(folder, name)[run].info.run_id
    return [(point.step, point.value) for point in client(folder).get_metric_history(found, "loss")]


def test_what_arrived_though_the_call_failed_is_not_written_twice(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = MlflowRun(local_store(store), facts(store, "unsure"))
    for method in ("create_run", "log_batch"):
        arrives = getattr(MlflowClient, method)

        def unanswered(*arguments: Any, arrives: Any = arrives, **options: Any) -> None:
            arrives(*arguments, **options)
            raise TimeoutError

        with monkeypatch.context() as hanging:
            hanging.setattr(MlflowClient, method, unanswered)
            with pytest.raises(TimeoutError):
                run.metrics("teacher", rows(1, 2)) if method == "log_batch" else run.started("teacher")
        if method == "create_run":
            run.started("teacher")
    run.metrics("teacher", rows(1, 2, 3))
    assert points(store, "unsure", "teacher") == [(1, 0.5), (2, 1.0), (3, 1.5)]  # `runs` finds no name twice


def test_of_steps_that_are_taken_again_before_they_were_sent_the_first_values_count(store: Path) -> None:
    """A worker is lost while the server is away: the queue holds some steps twice, and their speeds differ."""
    run = MlflowRun(local_store(store), facts(store, "again"))
    run.started("teacher")
    again = [{**row, "loss": row["loss"] + 7} for row in rows(2, 3, 4)]
    run.metrics("teacher", [*rows(1, 2, 3), *again])
    assert points(store, "again", "teacher") == [(1, 0.5), (2, 1.0), (3, 1.5), (4, 9.0)]


def test_what_arrives_after_the_next_call_is_there_once(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hung does what it was asked meanwhile, at the same time as what it is asked then."""
    run = MlflowRun(local_store(store), facts(store, "late"))
    run.started("teacher")
    late: list[tuple[object, ...]] = []

    def hangs(*arguments: object, **options: object) -> None:
        late.append((arguments, options))
        raise TimeoutError

    with monkeypatch.context() as hanging:
        hanging.setattr(MlflowClient, "log_batch", hangs)
        with pytest.raises(TimeoutError):
            run.metrics("teacher", rows(1, 2))
    time.sleep(0.01)  # the next call's own time is another one
    run.metrics("teacher", [*rows(1), {**rows(2)[0], "loss": 9.0}, *rows(3)])
    for arguments, options in late:
        MlflowClient.log_batch(*arguments, **options)
    assert points(store, "late", "teacher") == [(1, 0.5), (2, 1.0), (3, 1.5)]


def test_what_was_asked_twice_is_there_once_in_the_end(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's client asks again where an answer is late, and the server does both."""
    for method in ("create_run", "create_model_version"):
        asks = getattr(MlflowClient, method)
        monkeypatch.setattr(MlflowClient, method, lambda *a, asks=asks, **o: (asks(*a, **o), asks(*a, **o))[1])
    about, artifact = facts(store, "impatient"), publish(store)
    earlier = MlflowRun(local_store(store), about)
    earlier.started("teacher")
    run = MlflowRun(local_store(store), replace(about, fingerprints={"teacher": "e" * 64}))
    run.started("teacher")
    run.finished("teacher", {"fingerprint": "e" * 64}, artifact)
    run.close(None)
    experiment = client(store).get_experiment_by_name("test-impatient").experiment_id
    names = sorted(run.info.run_name for run in client(store).search_runs([experiment]))
    assert names == ["impatient", "teacher", "teacher"]  # the run itself, and those of two fingerprints
    assert len(client(store).search_model_versions("name='impatient-teacher'")) == 1


def test_what_a_killed_process_did_not_tell_is_sent_by_the_next_one(store: Path, tmp_path: Path) -> None:
    about, text = facts(store, "untold"), "".join(json.dumps(row) + "\n" for row in rows(1, 2, 3, 4))
    first = MlflowRun(local_store(store), about)
    first.started("corpus")
    first.started("teacher")
    first.metrics("teacher", rows(1, 2))
    assert is_unfinished(store)

    made = tmp_path / "made"
    made.mkdir()
    (made / "metrics.jsonl").write_text(text)
    (made / "manifest.json").write_text(json.dumps({"seconds": 2.0, "created": datetime.now(UTC).isoformat()}))
    old = tmp_path / "old"
    old.mkdir()
    (old / "manifest.json").write_text(json.dumps({"created": "2026-01-01T00:00:00+00:00"}))
    about = replace(about, made={"corpus": made, "blocks": made, "tokenizer": old})
    second = MlflowRun(local_store(store), about)
    second.started("teacher")
    second.metrics("teacher", rows(1, 2, 3, 4))  # from the file, to which the first process did not come
    second.metrics("teacher", rows(3, 4, 5))  # from its checkpoint
    second.close(None)

    found = runs(store, "untold")
    assert set(found) == {"untold", "corpus", "blocks", "teacher"}
    assert [found[name].info.status for name in ("corpus", "blocks")] == ["FINISHED", "FINISHED"]
    assert points(store, "untold", "teacher") == [(step, step / 2) for step in (1, 2, 3, 4, 5)]
    assert points(store, "untold", "blocks") == [(step, step / 2) for step in (1, 2, 3, 4)]
    assert not is_unfinished(store)
