"""Where a tracker writes, whatever the run's folder is called; and what nobody may read of a server's URI."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.artifacts import Store
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.environment import Environment
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.local import LocalRunner
from orchestrator.pipeline.plan import Plan, PlannedStep
from orchestrator.stages.base import Expected, Stage
from orchestrator.tracking.store import local_store, masked, without_secrets


class Logs(Stage):
    """Logs a step."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        env.log({"step": 1, "steps": 1, "loss": 2.0})
        (out / "done").touch()


SECRETS = [
    ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
    ("https://ann:pa55word@host:5000/x", "https://***@host:5000/x"),
    ("https://pa55word@host", "https://***@host"),
    ("https://ann:p@55word@host", "https://***@host"),
    ("postgresql+psycopg2://ann:pa55/word@host/db", "postgresql+psycopg2://***@host/db"),
    ("http://ann:pa55?word@host", "http://***"),
    ("http://ann:pa55#word@host", "http://***"),
    ("http://host/x?token=pa55word&workspace=w", "http://host/x?token=***&workspace=***"),
    ("http://host/?pa55word", "http://host/?***"),
    ("http://host/?token=pa55@word", "http://***"),
    ("http://host#pa55word", "http://host#***"),
    ("sqlite:////home/ann@work/mlflow.db", "sqlite:////home/ann@work/mlflow.db"),
    ("databricks", "databricks"),
    ("", ""),
]


@pytest.mark.parametrize(("uri", "shown"), SECRETS)
def test_a_uri_is_shown_without_its_secrets(uri: str, shown: str) -> None:
    assert masked(uri) == shown


def test_an_error_says_no_secret_however_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    uri = "http://ann:pa%4055%2Fword@host:5000/x?key=abcd1234"
    said = f"request to {uri} failed; ann:pa@55/word, pa%4055%2Fword, pa%4055%2fword; Bearer t0ken; key abcd1234"
    hidden = without_secrets(said, uri)
    assert hidden == "request to http://***@host:5000/x?key=*** failed; ***, ***, ***; Bearer ***; key ***"
    assert without_secrets("no such table", "") == "no such table"


def test_a_plain_folder_is_named_as_it_is(tmp_path: Path) -> None:
    assert local_store(tmp_path / "my run+1") == f"sqlite:///{tmp_path.resolve()}/my run+1/mlflow.db"


@pytest.mark.parametrize(
    "name", ["50%", "a%20b", "q?x=1", "h#ash", "it's", 'dq"', "é中", "semi;x", "back\\slash", "a&b"]
)
def test_an_odd_folder_is_reached_by_a_plain_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    uri = local_store(folder)
    place = Path(uri.removeprefix("sqlite:///"))
    assert not set("%?#;&'\"\\") & set(uri)
    assert uri.isascii()
    place.touch()
    assert [path.name for path in folder.iterdir()] == ["mlflow.db"]
    assert local_store(folder) == uri


def test_a_server_that_is_away_and_its_password_leave_no_trace_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    from orchestrator.pipeline.execute import execute
    from orchestrator.tracking import RunFacts, mlflow_tracker
    from orchestrator.tracking.lines import LogLines

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:pa55word@127.0.0.1:{port}/?token=s3cret")
    tracker = mlflow_tracker(RunFacts("quick", tmp_path, "mome"))
    assert tracker is not None
    step = PlannedStep(Step("teacher", Logs()), "f" * 64, None)
    plan = Plan(Store(tmp_path), (step,), Expected(512, 64, 1, None, PluginSpec(type="gpt2_nano")))
    runner = LocalRunner(ResourcesConfig(cpus=1))
    execute(plan, runner, [LogLines(), tracker])
    runner.close()
    tracker.close(None)
    said = "".join(capfd.readouterr())
    assert f"tracking: http://***@127.0.0.1:{port}/?token=*** can't be written to" in said
    assert "teacher: done in" in said
    files = [Path(folder) / name for folder, _, names in os.walk(tmp_path) for name in names]
    for secret in ("pa55word", "s3cret"):
        assert files
        assert secret not in said
        assert not any(secret.encode() in file.read_bytes() for file in files)
