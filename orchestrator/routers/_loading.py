"""A stored router back from its folder."""

from __future__ import annotations

from pathlib import Path

from orchestrator.artifacts import check_files
from orchestrator.errors import ArtifactError
from orchestrator.routers import _files
from orchestrator.routers._router import SUMMARY, Router
from orchestrator.routers._token_router import TokenRouter
from orchestrator.routers.text.router import TextRouter

KINDS: dict[str, type[Router]] = {kind.reads: kind for kind in (TokenRouter, TextRouter)}
"""Kinds of routers by what they read."""


def load_router(folder: Path, classifier: str | None = None) -> Router:
    """The router stored in `folder` by :func:`orchestrator.routers.save_routers`.

    Args:
        folder: the artifact.
        classifier: which of the stored classifiers; None: the one that the recipe chose.

    Raises:
        ArtifactError: a file is missing, damaged or of another release, or there is no such classifier.
    """
    path = folder / SUMMARY
    check_files(path)  # it has the digests of the others
    summary = _files.read_json(path)
    stored = summary.get("classifiers")
    if not isinstance(stored, dict):
        raise ArtifactError("a router file is damaged: it lists no classifiers", str(path), _files.FIX)
    name = classifier or str(summary.get("classifier"))
    if name not in stored:
        raise ArtifactError(f"no router classifier {name!r} is stored", str(path), "stored: " + ", ".join(stored))
    tensors, metadata = _files.read(folder, name, stored[name])
    reads = str(metadata.pop("reads", TokenRouter.reads))
    if reads not in KINDS:
        raise ArtifactError(f"a router of unknown kind {reads!r}", str(path), "upgrade, or train the router again")
    try:
        return KINDS[reads].rebuild(tensors, metadata)
    except KeyError as error:
        fix = "train it again: mome run RECIPE --force router"
        raise ArtifactError(f"a router of another release: it has no {error}", str(path), fix) from None
