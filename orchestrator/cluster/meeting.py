"""How a training's workers on CPUs find each other: they are told where, and join by themselves, as below torchrun.

Ray Train's own way joins them from the controller. That imports torch for it, and then each worker does, one after the
other: seconds of each start, and of each recovery.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import GetTimeoutError
from ray.train.backend import Backend, BackendConfig

_PART_SECONDS = 5.0


class Meeting(BackendConfig):  # type: ignore[misc]
    """For Ray Train: what workers need to know of each other stands in their environment when the training begins."""

    @property
    def backend_cls(self) -> type[Backend]:
        """Ray Train's hook."""
        return _Told


class _Told(Backend):  # type: ignore[misc]
    """Ray Train calls it in the controller."""

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:  # noqa: ARG002 (Ray's)
        address, port = worker_group.execute_single(0, _free_place)
        worker_group.execute(_tell, address, port)

    def on_shutdown(self, worker_group: Any, backend_config: BackendConfig) -> None:  # noqa: ARG002 (Ray's)
        with suppress(GetTimeoutError):
            ray.get(worker_group.execute_async(_part), timeout=_PART_SECONDS)


def _free_place() -> tuple[str, int]:
    """The address of this node, and a port of it that is free now."""
    address = str(ray.util.get_node_ip_address())
    with socket.create_server(("", 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as free:
        return address, int(free.getsockname()[1])


def _tell(address: str, port: int) -> None:
    """What torchrun tells its workers."""
    context = ray.train.get_context()
    told = {"MASTER_ADDR": address, "MASTER_PORT": port}
    told |= {"RANK": context.get_world_rank(), "WORLD_SIZE": context.get_world_size()}
    told |= {"LOCAL_RANK": context.get_local_rank(), "LOCAL_WORLD_SIZE": context.get_local_world_size()}
    os.environ.update({name: str(value) for name, value in told.items()})


def _part() -> None:
    """Leave the process group: its threads may outlive the interpreter, which then aborts."""
    if (torch := sys.modules.get("torch")) and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
