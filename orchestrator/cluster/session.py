"""A Ray session for one run: the cluster that RAY_ADDRESS names (a job's, say), or one of its own on this machine."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray

from orchestrator.config.recipe import ResourcesConfig
from orchestrator.errors import ResourceError

_PREFIX = "mome-ray-"
DATA = "data"
"""A resource of a cluster of our own, as many as CPUs. Ray only counts resources: data tasks are counted by this one,
trainings by CPUs, and neither kind waits for the other to end."""
_OBJECT_STORE_BYTES = 200 * 2**20
# Read where the driver, Ray Train's controllers and its workers start; what is set already is left as it is.
_SETTINGS = {
    # How often a controller looks at its workers. Every look costs time that training could have: not too often.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    # Our admission starts no more than fits, so a late start means a slow machine, or nodes that are being added.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "900",
    # Recipes may name files relative to where the command was typed.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Helper processes and exporters that nobody reads.
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_ENABLE_RECORD_ACTOR_TASK_LOGGING": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def session(resources: ResourcesConfig) -> Iterator[None]:
    """Connect to Ray, or start it, for the time of the block. What was running before goes on running after it.

    Call it from the main thread: processes of a cluster of our own end with the thread that started them.

    Raises:
        ResourceError: the cluster at RAY_ADDRESS can't be reached, or none can be started here.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if ray.is_initialized():
        yield
    elif os.environ.get("RAY_ADDRESS"):
        with _connected(os.environ["RAY_ADDRESS"]):
            yield
    else:
        with _local_cluster(resources):
            yield


def is_own_cluster() -> bool:
    """Whether the cluster in use was started by :func:`session`, on this machine alone."""
    return _own is not None


def data_task() -> dict[str, Any]:
    """Options of a Ray task that works on data."""
    return {"num_cpus": 0, "resources": {DATA: 1}} if is_own_cluster() else {"num_cpus": 1}


_own: Path | None = None
"""Folder of the cluster that this process started."""


@contextmanager
def _connected(address: str) -> Iterator[None]:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        fix = "start the cluster (ray start --head), or unset RAY_ADDRESS to use one of this run's own"
        raise ResourceError(f"no Ray cluster can be reached: {error}", f"RAY_ADDRESS={address}", fix) from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _local_cluster(resources: ResourcesConfig) -> Iterator[None]:
    global _own
    _remove_stale_folders()
    cpus = max(1, int(resources.cpus or os.cpu_count() or 1))
    _own = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    try:
        _use_token()
        context = ray.init(
            address="local",
            num_cpus=cpus,
            resources={DATA: cpus},
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=str(_own),
        )
        os.environ["RAY_ADDRESS"] = context.address_info[
            "gcs_address"
        ]  # without it, every training looks for a cluster for 12 s
        yield
    finally:
        ray.shutdown()
        os.environ.pop("RAY_ADDRESS", None)
        shutil.rmtree(_own, ignore_errors=True)
        _own = None


def _use_token() -> None:
    """Let only processes with this one's token talk to the cluster; Ray's default is one left in the home folder."""
    if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # and stays: Ray reads it once in a process


def _remove_stale_folders() -> None:
    """Remove what sessions of killed processes left behind."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
