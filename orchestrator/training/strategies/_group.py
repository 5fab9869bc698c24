"""Connecting the workers of a training."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import torch

from orchestrator.errors import TrainingError

if TYPE_CHECKING:
    from orchestrator.environment import Environment


def join_workers(env: Environment, device: torch.device) -> None:
    """Join the process group: the one there is, the one the launcher describes, or a group of one.

    Raises:
        TrainingError: nothing connects the workers, or there are more or fewer than were asked for.
    """
    if not torch.distributed.is_initialized():
        if env.world_size == 1:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            alone = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os.environ.update(alone, LOCAL_RANK="0")
        if "MASTER_ADDR" not in os.environ:
            raise TrainingError(
                f"{env.world_size} workers were asked for and nothing has connected them",
                "resources.workers",
                "run without --local (Ray starts the workers), or set resources.workers=1",
            )
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    os.environ.setdefault("LOCAL_RANK", "0")
    if torch.distributed.get_world_size() != env.world_size:
        raise TrainingError(
            f"{torch.distributed.get_world_size()} workers are connected, {env.world_size} were asked for",
            "resources.workers",
        )
