"""Placement groups of trainings whose controller was killed: they are removed.

Ray keeps a group for as long as the job of who made it lives. So that of a dead controller holds its CPUs, moves on to
another node when its own is lost, and the next attempt waits for ever. Ray Train has an actor that looks for them, a
process of 230 MB a training. The actor asks the cluster's state API. Without a dashboard a cluster has none, and then
the actor removes nothing and never ends. It also learns of a group only when its workers have begun.

Ray knows the actor that has made a group. A group of this job whose actor is dead is nobody's any more, at whatever
moment the actor died, and on a cluster that others share as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.core.generated.gcs_pb2 import PlacementGroupTableData as GroupFacts
from ray.exceptions import ActorDiedError, RayActorError
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

_WORD_SECONDS = 10.0
_GONE_SECONDS = 30.0
_LOOK_SECONDS = 0.1


@contextmanager
def removed_after_death() -> Iterator[None]:
    """Remove what dead controllers have left, before the block, and after it where its own controller died.

    Before it, too: a controller that dies while it asks for a group may get it a moment after its death is known.
    """
    remove_abandoned()
    try:
        yield
    except RayActorError as error:
        if isinstance(error, ActorDiedError) and (actor := error.actor_id):
            _wait(lambda: _is_dead(actor), _WORD_SECONDS)  # who called it may know before the cluster does
        remove_abandoned()
        raise


def remove_abandoned() -> None:
    """Remove this job's groups whose actor is dead, and wait until they are gone: others take what they held."""
    groups = [PlacementGroup(ray.PlacementGroupID(group)) for group in _abandoned()]
    for group in groups:
        remove_placement_group(group)
    _wait(lambda: all(placement_group_table(group).get("state") == "REMOVED" for group in groups), _GONE_SECONDS)


def _abandoned() -> list[bytes]:
    """Their ids. Ray's public table of groups does not say who has made one."""
    job = bytes.fromhex(ray.get_runtime_context().get_job_id())
    table = map(GroupFacts.FromString, _state()._connect_and_get_accessor().get_placement_group_table())
    groups = [group for group in table if group.creator_job_id == job and group.state != GroupFacts.REMOVED]
    dead = {maker for maker in {group.creator_actor_id for group in groups} if _is_dead(maker.hex())}
    return [group.placement_group_id for group in groups if group.creator_actor_id in dead]


def _is_dead(actor: str) -> bool:
    """Whether an actor, by its id, lives no more. What the driver itself makes has an id that no actor has."""
    return bool(_state().actor_table(actor).get("State") == "DEAD")


def _state() -> Any:
    return ray._private.state.state


def _wait(is_so: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(_LOOK_SECONDS)
