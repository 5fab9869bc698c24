"""How a command ends that could not do what it was told: a message, an exit code, and never a traceback unasked."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path

from orchestrator.faults import explained

TRACEBACK = "MOME_TRACEBACK"
"""Environment variable that, set to anything, has tracebacks printed too."""


def exit_code(error: Exception) -> int:
    """Say what happened on the standard error; the exit code: 2 for what a person can mend, 1 for a fault of ours."""
    said = explained(error, "", Path(tempfile.gettempdir()))
    if os.environ.get(TRACEBACK):
        traceback.print_exception(said)
    print(f"mome: {said}", file=sys.stderr, flush=True)
    return said.exit_code
