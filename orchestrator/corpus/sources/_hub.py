"""Streaming from the Hugging Face hub, the only place of this room that needs `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.errors import ResourceError


def stream(path: str, *, split: str, local: str, **options: Any) -> Iterator[dict[str, Any]]:
    """Rows of a hub data set, fetched as they are read.

    Args:
        path: builder or repository, as ``datasets.load_dataset`` takes it.
        split: split of the data set.
        local: what to do without the hub, for the error message.
        options: further arguments of ``load_dataset``; those that are None are left out.

    Raises:
        ResourceError: `datasets` is not installed, or the hub can't be reached.
    """
    try:
        from datasets import load_dataset
    except ImportError:
        raise ResourceError(
            "reading from the hub needs the package `datasets`", where=path, fix="pip install mome-orchestrator[data]"
        ) from None
    given = {key: value for key, value in options.items() if value is not None}
    try:
        yield from load_dataset(path, split=split, streaming=True, **given)
    except Exception as error:
        # The library's network errors have no common base class: whatever it raises here, the hub did not deliver.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ResourceError(f"the hub did not deliver: {reason}", where=f"{path}, {given}", fix=local) from error
