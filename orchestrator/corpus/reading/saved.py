"""Folders that ``Dataset.save_to_disk`` and ``DatasetDict.save_to_disk`` write: Arrow streams, and records in JSON."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from orchestrator.corpus.reading.files import readable
from orchestrator.errors import CorpusError

_STATE, _ABOUT, _SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"


def records(files: Collection[Path]) -> set[Path]:
    """Of some files those that say something of saved data, or that were computed from it, and are none of it."""
    there = set(files)
    saved = {file.parent for file in there if file.name == _STATE and file.with_name(_ABOUT) in there}
    about = {folder / name for folder in saved for name in (_STATE, _ABOUT)}
    of_splits = {folder.parent / _SPLITS for folder in saved} & there
    return about | of_splits | {file for file in there if file.parent in saved and _is_computed(file)}


def _is_computed(file: Path) -> bool:
    """Whether an Arrow file is no part of the data: `Dataset.map` lays what it computes beside them."""
    if file.suffix != ".arrow":
        return False
    try:
        listed = json.loads(file.with_name(_STATE).read_text(encoding="utf-8"))["_data_files"]
        return file.name not in {each["filename"] for each in listed}
    except (OSError, ValueError, KeyError, TypeError):  # no state as the package writes it: all are read
        return False


def check_one_split(folder: Path) -> None:
    """Make sure that a folder is not several splits in one.

    Raises:
        CorpusError: it is: what is trained on and what is held out would be mixed.
    """
    with readable(folder):
        splits = []
        if (folder / _SPLITS).is_file():
            splits = sorted(inner.name for inner in folder.iterdir() if (inner / _STATE).is_file())
    if len(splits) > 1:
        raise CorpusError(
            f"this folder holds the splits {', '.join(splits)}",
            where=str(folder),
            fix=f"name one ({folder / splits[-1]}), and others as `validation` and `test`",
        )
