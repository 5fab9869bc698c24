"""A run in MLflow: one parent run with a nested run for each step. The one file that imports mlflow."""

from __future__ import annotations

import json
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from orchestrator.artifacts import MANIFEST, digest, write_json
from orchestrator.errors import StoppedEarlyError
from orchestrator.tracking.observer import STATE, RunFacts
from orchestrator.tracking.sent import Sent
from orchestrator.tracking.store import DATABASE, local_store, masked
from orchestrator.tracking.twins import TOKEN, remove_twin_versions, remove_twins
from orchestrator.tracking.values import batches, clean, leaves, numbers, results_of, rows_in, text

_BATCH = 900  # MLflow takes 1000 metrics a call
_FACTS = ("seconds", "peak_memory_bytes", "run_peak_memory_bytes")
# A server that does not answer is found out in seconds; MLflow's own patience is minutes.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def _begin_store(folder: Path) -> None:
    """Write the store of a folder that has none."""
    file = folder / DATABASE
    if not file.exists():
        new = folder / f".{DATABASE}-{secrets.token_hex(4)}"
        new.write_bytes(_empty_store())
        new.replace(file)


@cache
def _empty_store() -> bytes:
    """A store as MLflow makes it: by dozens of migrations, each of which would wait for the disk."""
    from mlflow.tracking import MlflowClient

    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="mome-", dir=memory if os.access(memory, os.W_OK) else None) as folder:
        uri = local_store(Path(folder))
        MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)
        return (Path(folder) / DATABASE).read_bytes()


class MlflowRun:
    """An :class:`orchestrator.tracking.Observer` that writes at once and raises what MLflow raises.

    The ids of its runs are kept in `tracking.json` in the run's folder: a resumed run goes on in them, and what an
    earlier process has left behind is sent first. Calling a method again after it failed does no harm: no run and no
    value of a metric is there twice.
    """

    def __init__(self, uri: str, facts: RunFacts) -> None:
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # it would print the URI with its password
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):  # they tell table by table how a store is made, and URIs as they are
            logging.getLogger(name).setLevel(logging.ERROR)
        self._facts, self._local = facts, uri == local_store(facts.folder)
        if self._local:
            _begin_store(facts.folder)
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._state = self._load_state(uri)
        self._save_state()  # before the store is asked, which may be away: all from now on is sent
        self._experiment = self._open_experiment()
        self._sent = Sent(self._last_steps)
        self._failed = False
        self._parent = self._open_parent()
        self._catch_up()

    def started(self, step: str) -> None:
        """Open the step's run, the one it had when it was interrupted."""
        fingerprint = self._facts.fingerprints.get(step, "")
        known = self._state["steps"].get(step)
        if known and known["fingerprint"] == fingerprint and self._reopen(known["run"]):
            return
        tags = {"mlflow.parentRunId": self._parent, "mome.step": step, "mome.fingerprint": fingerprint}
        with self._created(step, tags, self._facts.configs.get(step, {})) as run:
            self._state["steps"][step] = {"fingerprint": fingerprint, "run": run}

    def metrics(self, step: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write finite numbers by optimizer step."""
        self._log(self._run_of(step), rows)

    def finished(self, step: str, manifest: Mapping[str, Any], folder: Path) -> None:
        """Write what it took, its lineage, and its model, if it made one."""
        run = self._run_of(step)
        self._log(run, rows_in(folder))
        # A study of several seeds has steps like evaluation@2, and a tag's name may hold no @.
        inputs = {f"mome.input.{role.replace('@', ':')}": value for role, value in manifest.get("inputs", {}).items()}
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
        steps = [step["run"] for step in self._state["steps"].values()]
        remove_twins(self._client, self._experiment, self._parent, steps)
        open_steps = [run for run in steps if self._status(run) == "RUNNING"]
        for run in open_steps:
            self._client.set_terminated(run, "KILLED")
        if report is not None:
            self._client.log_artifacts(self._parent, str(report), "report")
            self._log(self._parent, [{"step": 0, **results_of(report)}])
        status = "FAILED" if self._failed else "KILLED" if open_steps else "FINISHED"
        self._client.set_terminated(self._parent, status)
        self._state["closed"] = True
        self._save_state()

    def _catch_up(self) -> None:
        """Send what an earlier process of this run has made and could not tell of: it was killed, or the store away."""
        for step, folder in self._facts.made.items():
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            known = self._state["steps"].get(step)
            made = datetime.fromisoformat(manifest.get("created", "1970-01-01T00:00:00+00:00")).timestamp() + 1
            if made < self._state["since"] or (known and self._status(known["run"]) == "FINISHED"):
                continue
            self.started(step)
            self.finished(step, manifest, folder)

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
        if self._state["parent"]:
            if self._reopen(self._state["parent"]):
                return str(self._state["parent"])
            self._state.update(since=self._facts.began, steps={})
        with self._created(self._facts.name, {"mome.run": self._facts.name}, self._facts.parameters) as parent:
            self._state.update(parent=parent, steps={}, closed=False)
        return parent

    @contextmanager
    def _created(self, name: str, tags: Mapping[str, str], parameters: Mapping[str, Any]) -> Iterator[str]:
        """A new run, or the one that was asked for before without an answer; the block takes it into the state."""
        from mlflow.entities import Param

        asked, key = self._state.setdefault("asked", {}), tags.get("mome.step", "")
        run = self._found(asked[key]) if key in asked else ""
        if not run:
            asked[key] = secrets.token_hex(8)
            self._save_state()
            tags = {**tags, TOKEN: asked[key]}
            run = str(self._client.create_run(self._experiment, run_name=name, tags=tags).info.run_id)
        params = [Param(clean(key), text(value)) for key, value in leaves(parameters)]
        for batch in batches(params, 100):
            self._client.log_batch(run, params=batch)
        self._sent.begin(run)
        yield run
        del asked[key]
        self._save_state()

    def _found(self, token: str) -> str:
        """The run with a token; "": there is none."""
        found = self._client.search_runs([self._experiment], f"tags.`{TOKEN}` = '{token}'", max_results=1)
        return str(found[0].info.run_id) if found else ""

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

        values = [(clean(key), value, step) for key, value, step in numbers(rows)]
        for batch in batches(self._sent.missing(run, values, now=int(time.time() * 1000)), _BATCH):
            try:
                self._client.log_batch(run, metrics=[Metric(key, value, now, step) for key, value, step, now in batch])
            except Exception:
                self._sent.doubt(run, batch)
                raise
            self._sent.note(run, batch)
        if tags:
            self._client.log_batch(run, tags=[RunTag(key, value) for key, value in tags.items()])

    def _last_steps(self, run: str) -> dict[str, int]:
        """Of each metric of a run, as the store has it."""
        names = self._client.get_run(run).data.metrics
        return {name: max(each.step for each in self._client.get_metric_history(run, name)) for name in names}

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
            remove_twin_versions(self._client, name, run)

    def _load_state(self, uri: str) -> dict[str, Any]:
        """The ids of the runs to go on with: of this recipe, in this store. A store that was moved is another."""
        identity = digest(self._facts.parameters)
        store = str(self._facts.folder.resolve()) if self._local else masked(uri)
        try:
            state: dict[str, Any] = json.loads((self._facts.folder / STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            state = {}
        if (state.get("store"), state.get("recipe")) == (store, identity):
            return {"since": self._facts.began, **state}
        new = {"parent": "", "steps": {}, "since": self._facts.began, "closed": False}
        return {"store": store, "recipe": identity, **new}

    def _save_state(self) -> None:
        write_json(self._facts.folder / STATE, self._state)


def _same_place(one: str, other: str) -> bool:
    """Whether two file URIs are of one place, by whichever links it is reached."""
    paths = [Path(unquote(urlsplit(uri).path)).resolve() for uri in (one, other)]
    return paths[0] == paths[1]
