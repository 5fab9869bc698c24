"""What has been found out about this machine, kept in the user's cache folder, and the name it is kept under."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from orchestrator.artifacts import digest, write_json
from orchestrator.errors import MomeError

_IDENTITY = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
_found: dict[str, Any] = {}


@cache
def processor() -> str:
    """Name of the processor, and a digest of what it can do where the system tells: virtual ones share names."""
    facts = _facts()
    name = facts.get("model name") or platform.processor() or "unknown"
    return f"{name} ({platform.machine()} {digest(facts)[:8]})"


def recall(what: str) -> Any:
    """What was remembered under this name, of this processor and this version of torch; None where nothing was."""
    if what not in _found:
        _found[what] = _read().get(what)
    return _found[what]


def remember(what: str, value: Any) -> None:
    """Keep a JSON-able value; for this process only where the cache folder can't be written."""
    _found[what] = value
    with suppress(OSError, MomeError, RuntimeError):  # RuntimeError: there is no home
        write_json(_path(), {**_read(), "processor": processor(), "torch": _torch(), what: value})


def _path() -> Path:
    """Of the file: one a kind of machine, since machines may share a home."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "mome" / f"machine-{digest([processor(), _torch()])[:12]}.json"


def _read() -> dict[str, Any]:
    """What the file holds; nothing where it is missing or damaged."""
    try:
        held = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}


def _facts() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":")[::2] for line in lines)
    return {name.strip(): value.strip() for name, value in pairs if name.strip() in _IDENTITY}


def _torch() -> str:
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return ""
