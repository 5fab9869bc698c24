"""How much memory there is here, and whether a model's weights find room in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psutil

WeightsPlace = Literal["auto", "memory", "disk"]
"""Where a teacher's weights lie while it computes."""
SHARE = 0.6
"""Of the memory that weights may take: the rest is for what is computed, and for whatever else runs."""
_GROUPS = Path("/sys/fs/cgroup")


def memory_bytes() -> int:
    """Memory of this machine, or what the control groups of this process leave it of that."""
    return min([int(psutil.virtual_memory().total), *_group_limits()])


def gpu_bytes() -> int:
    """Memory of the smallest GPU that torch sees; 0 where it sees none."""
    import torch

    if not torch.cuda.is_available():
        return 0
    return min(torch.cuda.get_device_properties(number).total_memory for number in range(torch.cuda.device_count()))


def stays_on_disk(place: str, parameters: int, device: str, processes: int = 1) -> bool:
    """Whether a model's weights stay in their files while it computes.

    Args:
        place: as the recipe has it; "auto": they stay where they would take too much of the memory.
        parameters: of the model, computed in fp32.
        device: "cpu", or "cuda", where they would be in both memories.
        processes: on this machine that would each have them.
    """
    if place != "auto":
        return place == "disk"
    size = 4 * parameters
    if size * processes > SHARE * memory_bytes():
        return True
    return device == "cuda" and 0 < SHARE * gpu_bytes() < size


def _group_limits(process: Path = Path("/proc/self/cgroup"), groups: Path = _GROUPS) -> Iterator[int]:
    """Limits of the control groups that a process is in and of those above, of both versions."""
    lines = list[str]()
    with suppress(OSError):
        lines = process.read_text(encoding="utf-8").splitlines()
    for line in lines:
        _, kinds, place = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        root, name = (groups / "memory", "memory.limit_in_bytes") if kinds else (groups, "memory.max")
        folder = root / place.strip("/")
        for each in (folder, *folder.parents):
            if each.is_relative_to(root):
                with suppress(OSError, ValueError):  # "max": it has none
                    yield int((each / name).read_text(encoding="utf-8"))
