"""A run in MLflow: one parent run with a nested run for each step. The one file that imports mlflow."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from orchestrator.artifacts import digest, write_json
from orchestrator.errors import StoppedEarlyError
from orchestrator.tracking.observer import RunFacts
from orchestrator.tracking.store import local_store, masked

STATE = "tracking.json"
_BATCH = 900  # MLflow takes 1000 metrics a call
_LONGEST_VALUE = 500
_LONGEST_NAME = 250
_FORBIDDEN = re.compile(r"[^\w\-. :/]")
_FACTS = ("seconds", "peak_memory_bytes", "run_peak_memory_bytes")
_RESULTS = ("table3_router", "table4_perplexity", "teacher_perplexity", "expert_perplexity")
# A server that does not answer is found out in seconds; MLflow's own patience is minutes.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class MlflowRun:
    """An :class:`orchestrator.tracking.Observer` that writes at once and raises what MLflow raises.

    The ids of its runs are kept in `tracking.json` in the run's folder: a resumed run goes on in them. Calling a method
    again after it failed does no harm.
    """

    def __init__(self, uri: str, facts: RunFacts) -> None:
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # it would print the URI with its password
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):  # they tell table by table how a store is made, and URIs as they are
            logging.getLogger(name).setLevel(logging.ERROR)
        self._facts, self._local = facts, uri == local_store(facts.folder)
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._experiment = self._open_experiment()
        self._state = self._load_state(uri)
        self._failed = False
        self._parent = self._open_parent()

    def started(self, step: str) -> None:
        """Open the step's run, the one it had when it was interrupted."""
        fingerprint = self._facts.fingerprints.get(step, "")
        known = self._state["steps"].get(step)
        if known and known["fingerprint"] == fingerprint and self._reopen(known["run"]):
            return
        tags = {"mlflow.parentRunId": self._parent, "mome.step": step, "mome.fingerprint": fingerprint}
        run = self._create(step, tags, self._facts.configs.get(step, {}))
        self._state["steps"][step] = {"fingerprint": fingerprint, "run": run}
        self._save_state()

    def metrics(self, step: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write finite numbers by optimizer step."""
        self._log(self._run_of(step), rows)

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:
        """Write what it took, its lineage, and its model, if it made one."""
        run = self._run_of(step)
        inputs = {f"mome.input.{role}": value for role, value in manifest.get("inputs", {}).items()}
        tags = {"mome.step": step, "mome.fingerprint": str(manifest.get("fingerprint", "")), **inputs}
        self._log(run, [{"step": 0, **{key: manifest.get(key) for key in _FACTS}}], tags)
        for name in ("manifest.json", "training.json"):
            if (folder / name).exists():
                self._client.log_artifact(run, str(folder / name))
        if (folder / "model").is_dir():
            self._register(step, run, folder / "model", tags)
        self._client.set_terminated(run, "FINISHED")

    def failed(self, step: str, error: Exception) -> None:
        """Write why."""
        stopped = isinstance(error, StoppedEarlyError)
        self._failed |= not stopped
        self._client.set_tag(self._run_of(step), "mome.error", str(error)[:5000])
        self._client.set_terminated(self._run_of(step), "KILLED" if stopped else "FAILED")

    def close(self, report: Path | None) -> None:
        """Add the report and its results, and end every run that is still open."""
        open_steps = [s["run"] for s in self._state["steps"].values() if self._status(s["run"]) == "RUNNING"]
        for run in open_steps:
            self._client.set_terminated(run, "KILLED")
        if report is not None:
            self._client.log_artifacts(self._parent, str(report), "report")
            self._log(self._parent, [{"step": 0, **_results(report)}])
        status = "FAILED" if self._failed else "KILLED" if open_steps else "FINISHED"
        self._client.set_terminated(self._parent, status)

    def _open_experiment(self) -> str:
        """The experiment of that name. MLflow keeps an absolute place of artifacts with it, and can't change it.

        In the store of a run's folder that was moved or copied that is the old place: then the old experiment gets its
        place as part of its name, and one for this place its own.
        """
        name, place = self._facts.experiment, None
        found = self._client.get_experiment_by_name(name)
        if self._local:
            place = (self._facts.folder.resolve() / "mlruns").as_uri()
            if found is not None and not _same_place(found.artifact_location, place):
                self._client.rename_experiment(found.experiment_id, f"{name} at {found.artifact_location}")
                found = self._client.get_experiment_by_name(f"{name} at {place}")  # it has come back
                if found is not None:
                    self._client.rename_experiment(found.experiment_id, name)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=place))

    def _open_parent(self) -> str:
        if self._state["parent"] and self._reopen(self._state["parent"]):
            return str(self._state["parent"])
        parent = self._create(self._facts.name, {"mome.run": self._facts.name}, self._facts.parameters)
        self._state.update(parent=parent, steps={})
        self._save_state()
        return parent

    def _create(self, name: str, tags: Mapping[str, str], parameters: Mapping[str, Any]) -> str:
        from mlflow.entities import Param

        run = str(self._client.create_run(self._experiment, run_name=name, tags=dict(tags)).info.run_id)
        params = [Param(clean(key), text(value)) for key, value in leaves(parameters)]
        for batch in _batches(params, 100):
            self._client.log_batch(run, params=batch)
        return run

    def _reopen(self, run: str) -> bool:
        """Go on with a run that did not finish; False where there is none."""
        if self._status(run) in ("", "FINISHED"):
            return False
        self._client.update_run(run, status="RUNNING")
        return True

    def _status(self, run: str) -> str:
        from mlflow.exceptions import MlflowException

        try:
            return str(self._client.get_run(run).info.status)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return ""
            raise

    def _run_of(self, step: str) -> str:
        if step not in self._state["steps"]:  # it failed before its turn came
            self.started(step)
        return str(self._state["steps"][step]["run"])

    def _log(self, run: str, rows: Sequence[Mapping[str, Any]], tags: Mapping[str, str] | None = None) -> None:
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        metrics = [Metric(clean(key), value, now, step) for key, value, step in numbers(rows)]
        for batch in _batches(metrics, _BATCH):
            self._client.log_batch(run, metrics=batch)
        if tags:
            self._client.log_batch(run, tags=[RunTag(key, value) for key, value in tags.items()])

    def _register(self, step: str, run: str, model: Path, tags: Mapping[str, str]) -> None:
        """A version of the registered model "<run>-<step>": the artifact where it lies, or uploaded to a server.

        One version a run of the step: where it is there already, from a try that was cut short, it is left as it is.
        """
        from mlflow.exceptions import MlflowException

        source = model.absolute().as_uri()
        if not self._local:
            self._client.log_artifacts(run, str(model), "model")
            source = f"runs:/{run}/model"
        name = f"{self._facts.name}-{step}"
        try:
            self._client.create_registered_model(name, tags={"mome.run": self._facts.name})
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        if not any(version.run_id == run for version in self._client.search_model_versions(f"name='{name}'")):
            self._client.create_model_version(name, source, run_id=run, tags=dict(tags))

    def _load_state(self, uri: str) -> dict[str, Any]:
        """The ids of the runs to go on with: of this recipe, in this store. A store that was moved is another."""
        identity = digest(self._facts.parameters)
        store = str(self._facts.folder.resolve()) if self._local else masked(uri)
        try:
            state: dict[str, Any] = json.loads((self._facts.folder / STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            state = {}
        if (state.get("store"), state.get("recipe")) == (store, identity):
            return state
        return {"store": store, "recipe": identity, "parent": "", "steps": {}}

    def _save_state(self) -> None:
        write_json(self._facts.folder / STATE, self._state)


def _same_place(one: str, other: str) -> bool:
    """Whether two file URIs are of one place, by whichever links it is reached."""
    paths = [Path(unquote(urlsplit(uri).path)).resolve() for uri in (one, other)]
    return paths[0] == paths[1]


def numbers(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float, int]]:
    """(name, value, step) of every finite number in the rows that belong to a step."""
    for row in rows:
        for key, value in row.items():
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if number and "step" in row and key not in ("step", "steps"):
                yield key, float(value), int(row["step"])


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every leaf of nested mappings."""
    if isinstance(tree, Mapping) and (tree or not prefix):
        for key, value in tree.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


def clean(name: str) -> str:
    """A name of a parameter or metric as MLflow takes it: names of configurations may hold anything."""
    return _FORBIDDEN.sub("_", name)[:_LONGEST_NAME]


def text(value: Any) -> str:
    """A parameter's value as MLflow shows it."""
    return (value if isinstance(value, str) else json.dumps(value, default=str))[:_LONGEST_VALUE]


def _results(report: Path) -> dict[str, Any]:
    """The report's main numbers by dotted name."""
    try:
        results = json.loads((report / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(leaves({key: results[key] for key in _RESULTS if key in results}))


def _batches(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
