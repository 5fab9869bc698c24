"""The device of a training worker, its precision, its memory, and sums over workers."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from orchestrator.errors import OutOfMemoryError, ResourceError
from orchestrator.products import decide, fast_bf16, fast_onednn

if TYPE_CHECKING:
    from orchestrator.environment import Environment


def device_of(env: Environment) -> torch.device:
    """The torch device of this worker.

    Raises:
        ResourceError: GPUs were asked for and there are none.
    """
    if env.device != "cuda":
        return torch.device(env.device)
    if not torch.cuda.is_available():
        raise ResourceError(
            "a GPU was asked for and there is none that torch can use",
            where="resources.device",
            fix="set resources.device=cpu, or install the CUDA build of torch; `mome doctor` shows what there is",
        )
    index = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


Arithmetic = Literal["bf16", "fp32"]


def arithmetic(device: torch.device, precision: Arithmetic) -> Arithmetic:
    """What products are computed in: what the recipe allows, but fp32 on CPUs whose products are no faster in bf16."""
    return "fp32" if precision == "fp32" or (device.type == "cpu" and not fast_bf16()) else "bf16"


def agree_on_arithmetic(device: torch.device, precision: Arithmetic, rank: int, world_size: int) -> Arithmetic:
    """As :func:`arithmetic`, as the first worker finds it on its CPU, for all workers of a training."""
    if device.type == "cpu" and world_size > 1:
        found = [int(rank == 0 and fast_bf16()), int(rank == 0 and fast_onednn())]
        decide(*map(bool, total(torch.tensor(found), world_size).tolist()))
    return arithmetic(device, precision)


def autocast(device: torch.device, precision: Arithmetic) -> torch.autocast:
    """Forward passes in bf16 over fp32 weights, where products are computed in it; else nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=arithmetic(device, precision) == "bf16")


def total(values: Tensor, world_size: int) -> Tensor:
    """Sum of a small tensor over the workers, the same on each; in place."""
    if world_size > 1:
        torch.distributed.all_reduce(values)
    return values


def peak_memory_bytes(device: torch.device) -> int:
    """Largest memory so far: resident on the CPU, allocated on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def enough_memory(at_once: int, device: torch.device) -> Iterator[None]:
    """Tell a want of memory in the block as one that a smaller number of blocks at once mends.

    Raises:
        OutOfMemoryError: torch could not get memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        told = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not told and "can't allocate memory" not in str(error):  # torch's word for it on a CPU
            raise
        what = f"there is too little memory to compute {at_once} blocks at once on {device}"
        fix = f"resources.micro_batch={max(1, at_once // 2)}: the same steps, with less memory"
        raise OutOfMemoryError(what, "resources.micro_batch", fix, at_once) from None
