"""Errors that nobody foresaw: told in a line, their traceback kept in a file."""

from __future__ import annotations

import os
import re
import sysconfig
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.errors import FaultError, MomeError, ResourceError, StageFailedError, StoppedEarlyError

FOLDER = "errors"
"""Of a run, where the tracebacks of its faults are kept."""
_LONGEST = 300
_FRAME = re.compile(r'^ *File "(.+?)", line (\d+)', re.MULTILINE)


def explained(error: BaseException, doing: str, folder: Path) -> MomeError:
    """An error as one that a person can read and that any process can be sent.

    Args:
        error: whatever was raised; what a person can mend comes back as it is.
        doing: what failed: "stage teacher"; "": the command.
        folder: where the traceback of a fault is written to; another one where it can't be.
    """
    if isinstance(error, MomeError):
        return error
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        fix = "lower resources.slots, training.micro_batch or the model's size"
        return ResourceError(f"out of memory: {str(error).strip() or type(error).__name__}", doing, fix)
    fault = FaultError(f"{doing}: {_in_a_line(error)}".removeprefix(": "), _keep(error, doing, folder))
    fault.__cause__ = error
    return fault


def _in_a_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return (line if len(line) <= _LONGEST else f"{line[:_LONGEST]} …") + _in_own_code(error)


def _in_own_code(error: BaseException) -> str:
    """Where in a plug-in of somebody else it was raised, deepest first; "" where no such code was at work.

    A worker sends its traceback as text, in a note.
    """
    told = "".join([*traceback.format_exception(error), *getattr(error, "__notes__", ())])
    root = Path(__file__).parents[1]
    ours = (
        *(str(root / name) + os.sep for name in ("orchestrator", "serve", "jobs")),
        *filter(None, {*sysconfig.get_paths().values()}),
    )
    frames = [frame for frame in _FRAME.findall(told) if not frame[0].startswith(ours) and Path(frame[0]).is_file()]
    return f" ({':'.join(frames[-1])})" if frames else ""


def _keep(error: BaseException, doing: str, folder: Path) -> str:
    """Write the traceback to a new file; its path."""
    now = datetime.now(UTC)
    name = re.sub(r"[^\w.@-]+", "-", doing).strip("-") or "mome"
    text = "".join([f"{doing or 'mome'}, {now.isoformat(timespec='seconds')}\n\n", *traceback.format_exception(error)])
    for place in (folder, Path(tempfile.gettempdir())):
        path = place / f"{name}-{now:%Y%m%d-%H%M%S-%f}-{os.getpid()}.txt"
        try:
            place.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return str(path)
    return "nowhere, no folder could be written to"


def raise_if_failed(failed: Mapping[str, MomeError], missing: Sequence[str]) -> None:
    """End a run that has not come to its end: one failure as it is, several as one.

    Args:
        failed: errors by the names of steps.
        missing: steps that were not made.

    Raises:
        MomeError: unless both are empty.
    """
    if not (failed or missing):
        return
    if not failed:
        raise StoppedEarlyError(f"stopped before the end: {', '.join(missing)}")
    if len(failed) == 1:
        raise next(iter(failed.values()))
    error = StageFailedError("\n".join(f"stage {name} failed: {error}" for name, error in failed.items()))
    error.exit_code = max((each.exit_code for each in failed.values()), key=lambda code: code == FaultError.exit_code)
    raise error
