"""A Ray session for one run: the cluster that RAY_ADDRESS names (a job's, say), or one of its own on this machine."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import ray

from orchestrator.cluster.folders import held_folder
from orchestrator.cluster.handlers import kept_handler
from orchestrator.cluster.joining import first_line, joined, on_loopback
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.errors import ResourceError

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
    # Ray's default, 15, makes a training on two threads ten times slower beside any other busy process.
    "RAY_worker_niceness": "0",
    # Threads of a product wait for each other by asking again and again. Beside another busy process (the router's)
    # GNU's default left a teacher on two threads a third of its speed; so it has half of it, and 96 % alone.
    "GOMP_SPINCOUNT": "1000",
    # A worker that has imported torch serves the next step; Ray would end it after a second, and here it takes memory.
    "RAY_idle_worker_killing_time_threshold_ms": "20000",
    # Helper processes and exporters that nobody reads.
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # Seconds from a cloud's notice to a training's checkpoint; Ray's default is 5, and some clouds give 30.
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "2",
    "RAY_ENABLE_RECORD_ACTOR_TASK_LOGGING": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Tracebacks of tasks whose results nobody waits for any more, on the terminal.
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

_PUBLIC = "r"
"""Ray lets everybody into its folder for temporary files (0777): it lies in one that only its user may enter."""


@contextmanager
def session(resources: ResourcesConfig, python: str | None = None) -> Iterator[None]:
    """Connect to Ray, or start it, for the time of the block. What was running before goes on running after it.

    Call it from the main thread: processes of a cluster of our own end with the thread that started them.

    Args:
        resources: of a cluster of our own.
        python: command that starts workers of one in the place of Python; None: Python does.

    Raises:
        ResourceError: the cluster at RAY_ADDRESS can't be reached, or none can be started here.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if ray.is_initialized():
        yield
    elif os.environ.get("RAY_ADDRESS"):
        with joined(os.environ["RAY_ADDRESS"]):
            yield
    else:
        with _local_cluster(resources, python):
            yield


def is_own_cluster() -> bool:
    """Whether the cluster in use was started by :func:`session`, on this machine alone."""
    return _own is not None


def own_folder() -> Path | None:
    """Folder for temporary files of the cluster that :func:`session` started, gone with it; None: it is another's."""
    return _own


def data_task() -> dict[str, Any]:
    """Options of a Ray task that works on data."""
    return {"num_cpus": 0, "resources": {DATA: 1}} if is_own_cluster() else {"num_cpus": 1}


_GONE_SECONDS = 5.0
_own: Path | None = None
"""Folder of the cluster that this process started."""


@contextmanager
def _local_cluster(resources: ResourcesConfig, python: str | None) -> Iterator[None]:
    global _own
    cpus = max(1, int(resources.cpus or os.cpu_count() or 1))
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # a process a training; nobody takes this machine
    _use_token()
    with held_folder() as _own:
        try:
            # Without RAY_ADDRESS, every training looks for a cluster for 12 s.
            os.environ["RAY_ADDRESS"] = _start(cpus, _own, python)
            yield
        finally:
            ray.shutdown()
            os.environ.pop("RAY_ADDRESS", None)
            _own = None


def _start(cpus: int, folder: Path, python: str | None) -> str:
    """Start a cluster; its address.

    Raises:
        ResourceError: it does not come up.
    """
    try:
        with on_loopback(), kept_handler(), _whole():
            context = ray.init(
                address="local",
                num_cpus=cpus,
                resources={DATA: cpus},
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(folder / _PUBLIC),
                runtime_env=None if python is None else {"py_executable": python},
            )
    except Exception as error:  # Ray has no class for it: time-outs, sockets, shared memory, a process that died
        fix = f"is the machine very busy, or short of memory or of space in {folder.parent}? Try again, or add --local"
        raise ResourceError(f"Ray does not start: {first_line(error)}", str(folder.parent), fix) from error
    return str(context.address_info["gcs_address"])


@contextmanager
def _whole() -> Iterator[None]:
    """Leave no process of those started in the block where it is broken off: Ray's agents live on for a minute then."""
    own = psutil.Process()
    before = set(own.children(recursive=True))
    try:
        yield
    except BaseException:
        started = set(own.children(recursive=True)) - before
        ray.shutdown()
        for process in started:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(started, timeout=_GONE_SECONDS)  # before the folder that they write to is removed
        raise


def _use_token() -> None:
    """Let only processes with this one's token talk to the cluster; Ray's default is one left in the home folder."""
    if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # and stays: Ray reads it once in a process
