"""Weights where they lie: tensors that are parts of their files, which the system reads when they are used."""

from __future__ import annotations

import ctypes
import math
import mmap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from orchestrator.models.zoo._base import attention, quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_WIDENED = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Types of files that are widened to fp32 without loss."""
_WILL_NEED, _DO_NOT_NEED = 3, 4  # madvise(2)


def own_type(files: Iterable[Path]) -> torch.dtype:
    """The type that a model's numbers have in its files; fp32 where that is several types, or one of fewer bits.

    Args:
        files: safetensors.
    """
    from safetensors import safe_open

    found = set()
    for path in files:
        with safe_open(path, "pt") as file:
            found |= {str(file.get_slice(name).get_dtype()) for name in file.keys()}  # noqa: SIM118 (no mapping)
    floating = {name for name in found if name.startswith(("F", "BF"))}
    return _WIDENED.get(floating.pop(), torch.float32) if len(floating) == 1 else torch.float32


def count_numbers(files: Iterable[Path]) -> int:
    """How many numbers safetensors hold, from their headers."""
    from safetensors import safe_open

    found = 0
    for path in files:
        with safe_open(path, "pt") as file:
            found += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return found


def hollow(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> PreTrainedModel:
    """A model in fp32 like another one, with numbers that take no memory in the place of weights: NaN, all of them.

    Args:
        model: whose configuration and kind it has.
        weights: names and shapes.
    """
    seen, shapes = set[tuple[Any, ...]](), dict[str, Tensor]()
    empty = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name, tensor in weights.items():
        if (place := (tensor.data_ptr(), tensor.shape, tensor.stride())) not in seen:  # what is tied is tied again
            seen.add(place)
            shapes[name] = torch.full((), torch.nan).expand(tensor.shape) if name in empty else tensor
    config: Any = model.config
    kind: Any = type(model)
    with quiet():
        made: PreTrainedModel = kind.from_pretrained(
            None, config=config, state_dict=shapes, dtype=torch.float32, attn_implementation=attention(config)
        )
    return made.requires_grad_(False).eval()


class Pages:
    """Tells the system which parts of mapped files are used soon, and which no more.

    Only memory that lies in files of weights is ever given back: elsewhere its content would be lost.
    """

    def __init__(self) -> None:
        self._mapped = list(_mapped_files())

    def will_need(self, tensors: Iterable[Tensor]) -> None:
        """Let the system begin to read them; nothing waits for it."""
        self._advise(tensors, _WILL_NEED)

    def let_go(self, tensors: Iterable[Tensor]) -> None:
        """Give their memory back; whoever uses them reads them again."""
        self._advise(tensors, _DO_NOT_NEED)

    def _advise(self, tensors: Iterable[Tensor], advice: int) -> None:
        for tensor in tensors:
            begin = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
            end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
            if end > begin and tensor.is_contiguous() and any(a <= begin and end <= b for a, b in self._mapped):
                _libc().madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), advice)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _mapped_files() -> Iterator[tuple[int, int]]:
    """Where files of weights lie in this process's memory; nowhere that is known of but on Linux."""
    with suppress(OSError), Path("/proc/self/maps").open(encoding="utf-8", errors="replace") as file:
        for line in file:
            parts = line.split(maxsplit=5)
            if len(parts) == 6 and parts[5].rstrip().endswith(".safetensors"):
                begin, _, end = parts[0].partition("-")
                yield int(begin, 16), int(end, 16)
