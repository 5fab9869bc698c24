"""Whether a teacher has room in memory: what a plan says of it, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.available import gpu_bytes, stays_on_disk
from orchestrator.config.base import PluginSpec
from orchestrator.errors import ModelError
from orchestrator.stages.base import Cost, Expected
from orchestrator.stages.training import PROCESS_BYTES

if TYPE_CHECKING:
    from orchestrator.environment import Environment


def teacher_stays_on_disk(folder: Path, env: Environment, processes: int) -> bool:
    """Whether the weights of the teacher in an artifact do while it computes in some processes on this machine."""
    from orchestrator.models.mapped import count_numbers
    from orchestrator.models.zoo._weights import weight_files

    count = count_numbers(weight_files(folder / "model", "teacher"))
    return stays_on_disk(env.teacher_weights, count, env.device, processes)


def streaming_cost(expected: Expected, processes: int = 1) -> Cost:
    """Memory of a step that computes with the teacher, and a sentence on it, where its weights stay on disk.

    Args:
        expected: says which teacher.
        processes: that compute with it at a time on a CPU.
    """
    from orchestrator.models import counts
    from orchestrator.models.streamed import HELD_BYTES

    if expected.memory is None:
        return Cost()
    teacher = counts(expected.teacher, expected.teacher_rows, expected.context)
    device = "cuda" if expected.device != "cpu" and gpu_bytes() else "cpu"
    if not stays_on_disk(expected.teacher_weights, teacher.parameters, device, 1 if device == "cuda" else processes):
        return Cost()
    memory = PROCESS_BYTES + 4 * (teacher.layer + 2 * teacher.head) + 2 * HELD_BYTES[device]
    note = (
        f"the teacher's weights stay on disk ({4 * teacher.parameters / 1e9:.3g} GB in fp32): caches and the "
        f"evaluation read one layer at a time, in about {memory / 1e9:.2g} GB a process"
    )
    return Cost(memory_bytes=memory, note=note)


def check_room(expected: Expected, model: PluginSpec, rows: int, what: str, where: str, fix: str) -> None:
    """Make sure that a model's weights, in fp32, are not more than the memory of this machine.

    Args:
        expected: says how much memory that is.
        model: as the recipe names it.
        rows: of its vocabulary.
        what: that needs all of them in memory at a time.
        where: in the recipe.
        fix: what to do instead.

    Raises:
        ModelError: they are.
    """
    from orchestrator.models import parameter_count

    if expected.memory is None:
        return
    size = 4 * parameter_count(model, rows, expected.context)
    if size > expected.memory:
        has = f"{size / 1e9:.3g} GB in fp32, and there are {expected.memory / 1e9:.3g} GB"
        raise ModelError(f"{what} needs all weights in memory: {has}", where, fix)
