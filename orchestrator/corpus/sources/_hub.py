"""Reading through the package datasets, the only place of this room that needs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import ResourceError

Row = dict[str, Any]
Columns = tuple[Sequence[str], Sequence[str]]
"""Columns to read where there are any of the second ones."""


def stream(path: str, *, split: str, local: str, columns: Columns | None = None, **options: Any) -> Iterator[Row]:
    """Rows of a hub data set, fetched as they are read.

    Args:
        path: builder or repository, as ``datasets.load_dataset`` takes it.
        split: split of the data set.
        local: what to do without the hub, for the error message.
        columns: which to read; None: all.
        options: further arguments of ``load_dataset``; those that are None are left out.

    Raises:
        ResourceError: `datasets` is not installed, or the hub can't be reached.
    """
    given = {key: value for key, value in options.items() if value is not None}
    load_dataset = _package(path).load_dataset
    try:
        yield from _chosen(load_dataset(path, split=split, streaming=True, **given), columns)
    except Exception as error:
        # The library's network errors have no common base class: whatever it raises here, the hub did not deliver.
        raise ResourceError(f"the hub did not deliver: {_reason(error)}", f"{path}, {given}", local) from error


def rows_of(folder: Path, *, split: str, name: str | None, columns: Columns) -> Iterator[Row]:
    """Rows of a folder of this machine: of data files, as a repository has them, or saved by ``save_to_disk``.

    Args:
        folder: the folder.
        split: split of the data set.
        name: configuration; None: the only one.
        columns: which to read.

    Raises:
        ResourceError: `datasets` is not installed, or can't read the folder.
    """
    package = _package(str(folder))
    try:
        if (folder / "dataset_dict.json").is_file():
            found = package.load_from_disk(str(folder))[split]
        elif (folder / "state.json").is_file():
            found = package.load_from_disk(str(folder))
        else:
            found = package.load_dataset(str(folder), name=name, split=split, streaming=True)
        yield from _chosen(found, columns)
    except Exception as error:  # see above
        what = f"the package datasets can't read this folder: {_reason(error)}"
        raise ResourceError(what, f"{folder}, split {split}", "check `path`, `config` and `split`") from error


def _chosen(rows: Any, columns: Columns | None) -> Iterator[Row]:
    """Rows with the columns of use alone: images beside them need not be decoded."""
    names = getattr(rows, "column_names", None)
    if columns is not None and names and set(columns[1]).intersection(names):
        rows = rows.select_columns([name for name in names if name in columns[0]])
    yield from rows


def _package(where: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise ResourceError(
            "reading from the hub needs the package `datasets`", where=where, fix="pip install mome-orchestrator[data]"
        ) from None
    return datasets


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
