"""Files of token ids and their descriptions: read so that damage is told before it is used."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import ArtifactError

SPLITS = ("train", "validation", "test")


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Smallest unsigned integer type that holds every token id: uint16 up to 65,536 tokens, uint32 above."""
    return np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a `.npy` file. Goes through a buffer because `ndarray.tofile` hides why a write failed."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getbuffer())


def read_json(path: Path, stage: str) -> dict[str, Any]:
    """Read the JSON object at the heart of an artifact of `stage`.

    Raises:
        ArtifactError: it is missing or not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(path, stage, f"{path.name} can't be read ({type(error).__name__})") from None
    if not isinstance(value, dict):
        raise damaged(path, stage, f"{path.name} is not a JSON object")
    return value


def read_array(path: Path, stage: str) -> np.ndarray:
    """Read a whole `.npy` file of an artifact of `stage`.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    try:
        array: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path, stage, f"{path.name} can't be read ({type(error).__name__})") from None
    return array


def check_stream(path: Path, dtype: np.dtype[Any], tokens: int, stage: str) -> None:
    """Check that a flat file of token ids is there and as long as its artifact says.

    Raises:
        ArtifactError: it is not.
    """
    expected = tokens * dtype.itemsize
    actual = path.stat().st_size if path.is_file() else None
    if actual is None:
        raise damaged(path, stage, f"{path.name} is missing")
    if actual != expected:
        raise damaged(path, stage, f"{path.name} holds {actual:,} bytes instead of {expected:,}")


def map_stream(path: Path, dtype: np.dtype[Any]) -> np.ndarray:
    """Memory-map a flat file of token ids for reading: int [tokens]. An empty file is an empty array."""
    if path.stat().st_size == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r").view(np.ndarray)


def damaged(path: Path, stage: str, what: str) -> ArtifactError:
    """The error for a file of an artifact of `stage` that is missing or broken."""
    return ArtifactError(
        f"the {stage} artifact is damaged: {what}",
        where=str(path),
        fix=f"build it again: mome run RECIPE --force {stage}",
    )
