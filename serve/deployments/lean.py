"""An endpoint on one machine in less memory: its processes leave out what none of them uses."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from ray._private import ray_constants
from ray._private import worker as ray_worker

_SETTINGS = {
    # Called by every worker when it starts; Ray's own name for a job's `worker_process_setup_hook`.
    ray_constants.WORKER_PROCESS_SETUP_HOOK_ENV_VAR: f"{__name__}.without_pandas",
    # Each thread that allocates has a heap of its own otherwise, of which most stays empty.
    "MALLOC_ARENA_MAX": "2",
    # What a step of an engine frees is kept for the next one: the system would clear it anew each time. glibc finds
    # such a size by itself only where none is given (mallopt(3)).
    "MALLOC_MMAP_THRESHOLD_": "4194304",
    "MALLOC_TRIM_THRESHOLD_": "16777216",
    # Workers for whatever may come, which are not forked.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    # A dead proxy is refused connections until somebody looks: Serve does so every ten seconds.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    # Ten times a second by default, in every process, also where nothing happens.
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
}


def without_pandas() -> None:
    """Let `import pandas` fail in this process: Serve imports it where it can, and uses it for dashboards alone."""
    sys.modules.setdefault("pandas", None)  # type: ignore[arg-type]


def prepare() -> None:
    """Before a Ray of our own starts; what is set already is left as it is."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def trim() -> None:
    """After it has: end Ray's helpers that a single machine without a dashboard has no use for."""
    node = ray_worker._global_node
    for name in ("monitor", "log_monitor", "dashboard"):  # scales clusters; copies logs to the terminal; without pages
        with suppress(Exception):
            getattr(node, f"kill_{name}")(check_alive=False)
