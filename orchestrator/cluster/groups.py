"""Placement groups of trainings whose controller was killed: they are removed.

Such a group holds its CPUs for as long as this process lives, so that the next attempt would wait for ever. Ray Train
has an actor that looks for them, a process of 230 MB a training. The actor asks the cluster's state API. Without a
dashboard a cluster has none, and then the actor removes nothing and never ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray.exceptions import RayActorError
from ray.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    placement_group_table,
    remove_placement_group,
)

_CLAIM_SECONDS = 30.0
_LOOK_SECONDS = 0.1

_lock = threading.Lock()
_files: set[Path] = set()
"""Where the trainings that are at work name their groups."""


@contextmanager
def removed_after_death(file: Path, *, only_ours: bool) -> Iterator[None]:
    """Remove a training's placement group where the block ends because the training's controller died.

    Args:
        file: the training's workers name their group in it (:func:`claim`).
        only_ours: nobody else has groups in this cluster. So a group that no training claims is one of a controller
            that was killed before its workers began.
    """
    with _lock:
        file.unlink(missing_ok=True)
        _files.add(file)
    try:
        yield
    except RayActorError:
        if group := _named_in(file):
            _remove([group])
        elif only_ours:
            _remove(_unclaimed(file))
        raise
    finally:
        with _lock:
            _files.discard(file)


def claim(file: Path) -> None:
    """In a worker: name the group that the worker is in."""
    if group := get_current_placement_group():
        file.write_text(group.id.hex())


def _named_in(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _unclaimed(file: Path) -> list[str]:
    """Groups that no other training claims than perhaps that of `file`. Who is just starting has a moment to claim."""
    end = time.monotonic() + _CLAIM_SECONDS
    while True:
        there = [group for group, facts in placement_group_table().items() if facts["state"] != "REMOVED"]
        with _lock:
            claims = [_named_in(other) for other in _files - {file}]
        if all(claims) or time.monotonic() > end:
            return sorted(set(there) - set(claims)) if all(claims) else []
        time.sleep(_LOOK_SECONDS)


def _remove(groups: list[str]) -> None:
    """Remove groups, and wait until they are gone: the next attempt takes what they held."""
    handles = [PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))) for group in groups]
    for handle in handles:
        remove_placement_group(handle)
    end = time.monotonic() + _CLAIM_SECONDS
    while any(placement_group_table(handle).get("state") != "REMOVED" for handle in handles):
        if time.monotonic() > end:
            break
        time.sleep(_LOOK_SECONDS)
