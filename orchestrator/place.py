"""Where runs are kept: a folder that is there tomorrow."""

from __future__ import annotations

import os
import re
from pathlib import Path

from orchestrator.errors import ResourceError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_OF_A_JOB = ("runtime_resources", "working_dir_files")
"""Below it Ray unpacks what a job came with (`--working-dir`), and is at work there; it is removed with the job."""


def runs_folder(runs: Path) -> Path:
    """The folder that holds the runs, as an absolute path.

    Raises:
        ResourceError: it is an address, its name is not UTF-8, or Ray deletes it when the job has ended.
    """
    if _URL.match(str(runs)):  # a path has lost one of the two slashes by now
        fix = "--runs /FOLDER; resources.storage=URL where nodes do not share it, and mome push RUN URL keeps a copy"
        raise ResourceError("runs are kept in a folder, and this is an address", f"--runs {runs}", fix)
    folder = runs.absolute()
    shown = os.fsencode(folder).decode("utf-8", "backslashreplace")
    if shown != str(folder):
        raise ResourceError("this folder's name is not UTF-8", shown, "choose another: --runs FOLDER")
    parts = folder.resolve().parts
    if any(parts[at : at + 2] == _OF_A_JOB for at in range(len(parts))):
        what = "this is the job's temporary folder, which Ray deletes with all that is in it"
        raise ResourceError(what, str(folder), "name a folder that every node sees: --runs /FOLDER")
    return folder
