"""What artifacts say, read so that a value which a file lacks is told as damage of that file, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from orchestrator.errors import ArtifactError


class Facts(dict[str, Any]):
    """A mapping out of a file of an artifact: a key that it lacks is an error of the file, which is named."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        """`values` of the file `path`, or of a part of it."""
        super().__init__(values)
        self._path = path

    def __missing__(self, key: str) -> NoReturn:
        raise damaged(self._path, f"there is no {key!r} in it, which this version of the report needs")


def read_json(path: Path) -> Facts:
    """A JSON object from a file of an artifact; the objects in it are :class:`Facts` too.

    Raises:
        ArtifactError: the file is missing or is not a JSON object.
    """
    try:
        value = parse(path, path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from None
    if not isinstance(value, Facts):
        raise damaged(path, "not a JSON object")
    return value


def parse(path: Path, text: str) -> Any:
    """JSON text of the file `path`.

    Raises:
        ValueError: it is not JSON.
    """
    return json.loads(text, object_hook=lambda values: Facts(path, values))


def read_tensors(path: Path) -> Facts:
    """The arrays of a safetensors file.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return Facts(path, load_file(path))
    except (OSError, ValueError, SafetensorError) as error:
        raise damaged(path, str(error)) from None


def plain(value: Any) -> Any:
    """The same as built-in dictionaries, for what is computed from facts: a key that is missing there is a mistake."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def damaged(path: Path, reason: str) -> ArtifactError:
    """The error for a file of an artifact that is missing, broken or of another version."""
    return ArtifactError(
        f"{path.name} can't be read: {reason}",
        str(path),
        f"delete {path.parent} and type the same command: the stage runs again",
    )
