"""A model whose weights stay in their files: each layer is there while it computes, and no other.

Its numbers are those of the same model in memory, to the last bit: each layer is widened to fp32 into memory of its
own, and its own code runs on the batches that it would run on otherwise.

Shape legend: V vocabulary, D width, U different tokens of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from orchestrator.models.in_step import current, in_step
from orchestrator.models.layers import layers_of
from orchestrator.models.mapped import Pages, hollow

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HELD_BYTES = {"cpu": 2**29, "cuda": 2**32}
"""Hidden states of passes that go through the layers in step, about."""
MOST = 32
"""Passes in step: with more, little is read less often."""
Result = TypeVar("Result")


def streamed(model: PreTrainedModel, device: str | torch.device = "cpu", layers: int | None = None) -> PreTrainedModel:
    """A model that computes on a device what another one would, whose weights lie in files and stay there.

    Args:
        model: with mapped weights in any floating-point type; it is left as it is.
        device: "cpu" or "cuda".
        layers: only so many of the first; None: all.
    """
    weights = model.state_dict()
    made = hollow(model, weights)
    if layers is not None:
        del layers_of(made)[layers:]
    made.stream = Stream(made, weights, torch.device(device))  # heads and whoever has several batches ask for it
    return made


def all_of(model: Any, functions: Sequence[Callable[[], Result]], tokens: int) -> Iterator[Result]:
    """What each function returns, which computes with a model: one after the other, or in step through a streamed one.

    Args:
        model: that they use.
        functions: at least one.
        tokens: of the largest batch of one.
    """
    stream: Stream | None = getattr(model, "stream", None)
    if stream is None:
        yield from (function() for function in functions)
        return
    size = stream.at_once(tokens)
    for first in range(0, len(functions), size):
        yield from stream.run(functions[first : first + size])


class Stream:
    """Where a model's weights come from.

    Args:
        model: hollow; its layers are given their weights while they compute, all else but the embedding has them.
        weights: by name, as they lie in files.
        device: to compute on.
    """

    def __init__(self, model: PreTrainedModel, weights: Mapping[str, Tensor], device: torch.device) -> None:
        self._device, self._pages, self._spare = device, Pages(), dict[Any, list[Tensor]]()
        self._embedding, self._head = model.get_input_embeddings(), model.get_output_embeddings()
        self._layers = list(layers_of(model))
        self._places: dict[nn.Module, list[tuple[nn.Module, str, Tensor]]] = {}
        self._table = Tensor()
        self._width = 0
        self._take_apart(model, weights)
        for layer in self._layers:
            layer.forward = partial(self._through, layer, layer.forward)
        self._embedding.forward = partial(self._looked_up, self._embedding.forward)
        if self._head is not None:
            self._head.register_forward_pre_hook(lambda *_: self.hold_head())

    def at_once(self, tokens: int) -> int:
        """How many passes of so many tokens may go in step."""
        held = HELD_BYTES.get(self._device.type, HELD_BYTES["cpu"])
        return max(1, min(MOST, held // (tokens * self._width * 4)))

    def run(self, functions: Sequence[Callable[[], Result]]) -> list[Result]:
        """What each function returns; in step."""
        if len(functions) == 1 or current() is not None:
            return [function() for function in functions]
        try:
            return in_step(functions, self._there)
        finally:
            self._pages.let_go([self._table])

    def hold_head(self) -> None:
        """Let the head have its weights from now on."""
        for module, name, tensor in self._places.pop(self._head, ()):
            _put(module, name, self._widened(tensor))

    def _take_apart(self, model: PreTrainedModel, weights: Mapping[str, Tensor]) -> None:
        """Sort weights by what is given them when."""
        parts = {module: layer for layer in self._layers for module in layer.modules()}
        parts |= {each: each for each in (self._embedding, self._head) if each is not None}
        names = {module: name for name, module in model.named_modules()}
        tied = {parameter: name for name, parameter in model.named_parameters()}
        for module, prefix in names.items():
            for name, parameter in list(module.named_parameters(recurse=False)):
                whole = f"{prefix}.{name}" if prefix else name
                tensor = weights[whole] if whole in weights else weights[tied[parameter]]
                placeholder = torch.full((), torch.nan, device=self._device).expand(tensor.shape)
                if module in parts:
                    self._places.setdefault(parts[module], []).append((module, name, tensor))
                    _put(module, name, placeholder)
                else:
                    _put(module, name, self._widened(tensor))
            for name, buffer in list(module.named_buffers(recurse=False)):
                module._buffers[name] = buffer.to(self._device)
        self._table = next(tensor for _, name, tensor in self._places.pop(self._embedding) if name == "weight")
        self._width = self._table.shape[1]
        self._embedding.padding_idx = None

    @contextmanager
    def _there(self, layer: nn.Module) -> Iterator[None]:
        """Within, a layer has its weights."""
        places = self._places[layer]
        empty = [getattr(module, name) for module, name, _ in places]
        following = self._layers[(self._layers.index(layer) + 1) % len(self._layers)]
        filled = [self._widened(tensor) for _, _, tensor in places]
        self._pages.let_go(tensor for _, _, tensor in places)
        self._pages.will_need(tensor for _, _, tensor in self._places[following])
        for (module, name, _), tensor in zip(places, filled, strict=True):
            _put(module, name, tensor)
        try:
            yield
        finally:
            for (module, name, _), placeholder, tensor in zip(places, empty, filled, strict=True):
                module._parameters[name] = placeholder
                self._spare.setdefault(tensor.shape, []).append(tensor)

    def _widened(self, tensor: Tensor) -> Tensor:
        """A tensor in fp32 on the device, in memory of its own."""
        with torch.inference_mode(False), torch.no_grad():
            spare = self._spare.get(tensor.shape)
            made = spare.pop() if spare else torch.empty(tensor.shape, dtype=torch.float32, device=self._device)
            return made.copy_(tensor)

    def _through(self, layer: nn.Module, forward: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """A layer's forward pass, with its weights."""
        own = current()
        if own is not None:
            return own.through(layer, partial(forward, *arguments, **options))
        with self._there(layer):
            return forward(*arguments, **options)

    def _looked_up(self, forward: Callable[..., Any], ids: Tensor, *arguments: Any, **options: Any) -> Any:
        """The embedding's forward pass on the rows that it needs [U, D] of all [V, D]."""
        used_U, places = torch.unique(ids, return_inverse=True)
        empty = self._embedding.weight
        with torch.inference_mode(False), torch.no_grad():
            rows_UD = self._table[used_U.to(self._table.device)].to(self._device, torch.float32)
        _put(self._embedding, "weight", rows_UD)
        try:
            return forward(places, *arguments, **options)
        finally:
            self._embedding._parameters["weight"] = empty


def _put(module: nn.Module, name: str, tensor: Tensor) -> None:
    module._parameters[name] = nn.Parameter(tensor, requires_grad=False)
