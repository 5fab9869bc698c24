"""Students that begin as part of their teacher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from orchestrator.artifacts import digest
from orchestrator.config.base import PluginSpec, build
from orchestrator.disk import known_digest
from orchestrator.errors import ModelError
from orchestrator.machine import recall, remember
from orchestrator.models import narrowing
from orchestrator.models.build import build_model
from orchestrator.models.counting import MOST, key_of
from orchestrator.models.layers import layers_name, layers_of
from orchestrator.models.narrowing import check_narrower, narrow


def initialise_from_teacher(student: nn.Module, teacher: nn.Module) -> None:
    """Copy the teacher's embeddings, final norm, head and every k-th layer, evenly spaced (DistilBERT, 1910.01108).

    With half as many layers these are the teacher's layers 0, 2, 4, … A narrower student gets the larger part of each,
    see :mod:`orchestrator.models.narrowing`.

    Args:
        student: overwritten.
        teacher: of the same architecture, with at least the student's width and layers; left alone.

    Raises:
        ModelError: the two don't fit.
    """
    layers = _pairs(student, teacher)
    if _width(student) != _width(teacher):
        narrow(student, teacher, layers)
    else:
        _copy(student, teacher, layers)


def check_beginning(student: PluginSpec, teacher: PluginSpec, vocab_size: int, context: int) -> None:
    """Make sure that a student can begin as a part of its teacher, before there is one.

    Args:
        student, teacher: architectures, as a recipe names them.
        vocab_size, context: of both.

    Raises:
        ModelError: they don't fit.
    """
    specs = (student, teacher)
    keys = [key_of(spec, vocab_size, context) for spec in specs if build("models.zoo", spec).plain_head]
    key, known = digest([keys, *map(known_digest, _RULES)])[:16], list(recall(_NAME) or [])
    if key in known and len(keys) == len(specs):  # weights that lie elsewhere may change
        return
    ours, theirs = (build_model(spec, vocab_size, context, 0, "meta") for spec in specs)
    _pairs(ours, theirs)
    if _width(ours) != _width(theirs):
        check_narrower(ours, theirs)
    remember(_NAME, [*known[1 - MOST :], key])


def _pairs(student: nn.Module, teacher: nn.Module) -> Mapping[nn.Module, nn.Module]:
    """The student's layers, each with the teacher's that it begins as."""
    sources, targets = layers_of(teacher), layers_of(student)
    if len(targets) > len(sources):
        what = f"the student has {len(targets)} layers, its teacher only {len(sources)}"
        raise ModelError(what, where=_WHERE, fix="give it no more, or set experts.initialise: random")
    if type(student) is not type(teacher):
        what = f"the student is a {type(student).__name__}, its teacher a {type(teacher).__name__}"
        raise ModelError(what, where=_WHERE, fix="use one architecture for both, or set experts.initialise: random")
    return {layer: sources[index * len(sources) // len(targets)] for index, layer in enumerate(targets)}


def _copy(student: nn.Module, teacher: nn.Module, layers: Mapping[nn.Module, nn.Module]) -> None:
    weights = {name: value for name, value in teacher.state_dict().items() if not name.startswith(layers_name(teacher))}
    try:
        student.load_state_dict(weights, strict=False)
        for layer, source in layers.items():
            layer.load_state_dict(source.state_dict())
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ModelError(
            f"the student's weights don't fit its teacher's: {detail}",
            where=_WHERE,
            fix="use the same width and context",
        ) from None


def _width(model: nn.Module) -> int:
    config: Any = model.config
    return int(config.hidden_size)


_WHERE = "experts.initialise: teacher"
_NAME = "beginnings"
"""Under which :mod:`orchestrator.machine` keeps what fits: importing what builds models takes seconds."""
_RULES = (Path(__file__), Path(str(narrowing.__file__)))
