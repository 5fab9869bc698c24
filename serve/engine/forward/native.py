"""The tokens of a step through all layers in one call of a kernel of our own: `serve/engine/native/layers.h`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from serve.engine.cache import SlotCache
from serve.engine.forward.block import Block, Body, Norm
from serve.engine.forward.step import Step
from serve.engine.native import library
from serve.engine.weights.native import SMALL, Product, Weights

_DEEP = 2**16
"""Numbers of a layer's keys read below which one thread is faster than several."""
Stepper = Callable[[Step, SlotCache], Tensor]
"""States [R, D] of the wanted tokens after the last norm. Keys and values of all go to the cache."""

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_int64


class _Norm(ctypes.Structure):
    _fields_ = (("weight", _POINTER), ("bias", _POINTER), ("epsilon", ctypes.c_float), ("rms", ctypes.c_int32))


class _Block(ctypes.Structure):
    _fields_ = (
        ("first", _Norm),
        ("second", _Norm),
        *((name, ctypes.POINTER(Weights)) for name in ("project", "out", "up", "down")),
        ("cos", _POINTER),
        ("sin", _POINTER),
        ("turned", _SIZE),
        ("gated", _SIZE),
    )


class _Model(ctypes.Structure):
    _fields_ = (
        ("blocks", ctypes.POINTER(_Block)),
        ("depth", _SIZE),
        ("tokens", _POINTER),
        ("places", _POINTER),
        ("last", _Norm),
        *((name, _SIZE) for name in ("width", "queries", "heads", "head_width", "window")),
    )


class _Batch(ctypes.Structure):
    _fields_ = (
        *((name, _POINTER) for name in ("ids", "slots", "ends")),
        ("count", _SIZE),
        ("wanted", _POINTER),
        ("wanted_count", _SIZE),
        ("memory", _POINTER),
        ("all_slots", _SIZE),
        ("capacity", _SIZE),
        ("out", _POINTER),
    )


def stepper_for(body: Body) -> Stepper | None:
    """What computes a step; None: the products are not our kernel's."""
    found = [(block.project, block.out, block.up, block.down) for block in body.blocks]
    products = [[product for product in of_block if isinstance(product, Product)] for of_block in found]
    return _Stepper(body, products) if all(len(ours) == len(found[0]) for ours in products) else None


class _Stepper:
    def __init__(self, body: Body, products: Sequence[Sequence[Product]]) -> None:
        self._kept: list[Tensor] = []  # what the addresses are of
        self._body = body
        blocks = [self._block(*each) for each in zip(body.blocks, products, strict=True)]
        self._blocks = (_Block * len(blocks))(*blocks)
        heads, places = body.heads, None if body.places is None else self._address(body.places)
        self._model = _Model(
            self._blocks, len(blocks), self._address(body.tokens), places, self._norm(body.last),
            body.tokens.shape[1], heads.queries, heads.keys, heads.width, heads.window or 0,
        )  # fmt: skip
        largest = max(products[0], key=lambda product: product.size)
        self._vocabulary = len(body.tokens)
        self._size, self._keys = largest.size, heads.keys * heads.width
        self._compute = getattr(library(), f"compute_{largest.precision}")

    def __call__(self, step: Step, cache: SlotCache) -> Tensor:
        ids, slots, ends, wanted = list[int](), list[int](), list[int](), list[int]()
        for piece in (*step.decoding, *step.prompts):
            ids += piece.ids
            slots += [piece.slot] * len(piece.ids)
            ends += range(piece.start + 1, piece.end + 1)
            wanted += range(len(ids) - piece.wanted, len(ids))
        if not (0 <= min(ids) <= max(ids) < self._vocabulary and max(ends) <= min(cache.context, cache.capacity)):
            raise IndexError("a token that the model does not know, or more of them than the model or its cache holds")
        out = torch.empty(len(wanted), self._model.width)
        arrays = [(_SIZE * len(values))(*values) for values in (ids, slots, ends, wanted)]
        *tokens, asked = map(ctypes.addressof, arrays)
        memory = cache.memory
        batch = _Batch(
            *tokens, len(ids), asked, len(wanted), memory.data_ptr(), memory.shape[1], cache.capacity, out.data_ptr()
        )
        alone = len(ids) * self._size < SMALL and sum(ends) * self._keys < _DEEP
        self._compute(ctypes.byref(self._model), ctypes.byref(batch), 1 if alone else torch.get_num_threads())
        return out

    def _block(self, block: Block, products: Sequence[Product]) -> _Block:
        rotary = () if block.rotary is None else block.rotary.tables
        turned = 0 if block.rotary is None else block.rotary.width
        return _Block(
            self._norm(block.first), self._norm(block.second),
            *(ctypes.pointer(product.weights) for product in products),
            *([self._address(table) for table in rotary] or (None, None)), turned, block.gated,
        )  # fmt: skip

    def _norm(self, norm: Norm | None) -> _Norm:
        if norm is None:
            return _Norm()
        bias = None if norm.bias is None else self._address(norm.bias)
        return _Norm(self._address(norm.weight), bias, norm.epsilon, norm.root_mean_square)

    def _address(self, values: Tensor) -> int:
        self._kept.append(values.detach().float().contiguous())
        return self._kept[-1].data_ptr()
