"""The safe file format: tensors as safetensors, the rest as JSON, one SHA-256 over both. Nothing in it can run code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ArtifactError

FORMAT = 1
FIX = "the files were changed or cut short: copy them again, or train the router again (--force router)"


def write(folder: Path, name: str, tensors: Mapping[str, NDArray[np.generic]], metadata: Mapping[str, Any]) -> str:
    """Write `name`.safetensors and `name`.json into `folder`.

    Returns:
        The digest (hexadecimal SHA-256) of both.
    """
    from safetensors.numpy import save

    data = save({key: np.ascontiguousarray(value) for key, value in tensors.items()})
    content = {"format": FORMAT, **metadata}
    digest = _digest(content, data)
    (folder / f"{name}.safetensors").write_bytes(data)
    (folder / f"{name}.json").write_text(json.dumps({**content, "sha256": digest}, indent=1), encoding="utf-8")
    return digest


def read(folder: Path, name: str, digest: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Tensors and metadata of `name`, after checking that both are what `digest` was taken of.

    Raises:
        ArtifactError: a file is missing, damaged, or of a newer format.
    """
    from safetensors.numpy import load

    path = folder / f"{name}.safetensors"
    content = read_json(folder / f"{name}.json")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError("a router file can't be read", f"{path}: {error.strerror}", FIX) from None
    content.pop("sha256", None)
    if _digest(content, data) != digest:
        raise ArtifactError("a router file is damaged: its SHA-256 is not the one it was stored with", str(path), FIX)
    if content.pop("format", None) != FORMAT:
        raise ArtifactError("a router of another format", str(path), "upgrade, or train the router again")
    return load(data), content


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`.

    Raises:
        ArtifactError: it is missing or not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError("a router file can't be read", f"{path}: {error.strerror}", FIX) from None
    except ValueError:
        raise ArtifactError("a router file is damaged: not JSON", str(path), FIX) from None
    if not isinstance(content, dict):
        raise ArtifactError("a router file is damaged: not a JSON object", str(path), FIX)
    return content


def _digest(content: Mapping[str, Any], data: bytes) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(canonical + b"\0" + data).hexdigest()
