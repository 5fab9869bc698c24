"""The one place that knows what lies between a model's last hidden states and its logits.

Families differ (a scale, a divisor, a bias, a soft cap, under many names), so it is measured, not read: the model's own
forward pass is given known hidden states, and its logits are compared with the head's product. A number that the
configuration has is taken from there, as it is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from orchestrator.errors import ModelError
from orchestrator.heads import Head, capped

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FIELD = "mome_logits"
"""Key of the configuration that keeps scale and cap of a head that has them: `config.json` has it then."""
_SMALL, _LARGE = 1e-2, 1e3
"""Largest product of a probe: so small that no cap is felt, and so large that it is all there is."""
_PRECISE = 1e-5
_FAMILIES = "take a teacher or expert whose logits are its head's product, scaled, biased or soft-capped"


class Decoder(Protocol):
    """What has hidden states and a head without being a model of transformers: a branch of a mixture."""

    @property
    def config(self) -> Any:
        """Its configuration."""

    def base_model(self, **arguments: Any) -> Any:
        """The output without the head; its `last_hidden_state` is what the head is for."""

    def get_output_embeddings(self) -> Any:
        """The head."""


def head(model: nn.Module | Decoder) -> Head:
    """The output head with what follows it, as :func:`find_head` found it; plain where it did not look.

    The weight is the embedding itself where they are tied.
    """
    module: Any = model
    layer = _layer(module)
    found = getattr(module.config, FIELD, None) or {}
    return Head(layer.weight, getattr(layer, "bias", None), found.get("scale", 1.0), found.get("cap"))


def find_head(model: PreTrainedModel) -> Head:
    """Measure what follows the head, and keep it in the model's configuration.

    Args:
        model: with weights, on any device.

    Raises:
        ModelError: logits are something else than scaled, biased and soft-capped products of head and last hidden
            states: a projection in between, or a model that makes none.
    """
    name = type(model).__name__
    layer = _layer(model)
    if layer is None or not hasattr(layer, "weight"):
        raise ModelError(f"{name} has no output head", "models.zoo", _FAMILIES)
    weight, bias, *_ = Head(layer.weight, getattr(layer, "bias", None)).unchanging
    measured = _Probe(model, weight)
    try:
        scale = measured.scale(bias)
        found = Head(weight, bias, *_exact(model.config, scale, measured.cap(scale, bias)))
        sound = all(measured.agrees(found, size) for size in (_SMALL, 1.0, 30.0, _LARGE))
    except (RuntimeError, TypeError, AttributeError, ValueError) as error:
        what = f"the logits of {name} can't be compared with its last hidden states: {str(error).splitlines()[0]}"
        raise ModelError(what, "models.zoo", _FAMILIES) from None
    if not sound:
        what = f"the logits of {name} are not its head applied to its last hidden states, scaled or soft-capped"
        raise ModelError(what, "models.zoo", _FAMILIES)
    if not found.plain:
        setattr(model.config, FIELD, {"scale": found.scale, "cap": found.cap})
    elif hasattr(model.config, FIELD):
        delattr(model.config, FIELD)
    return head(model)


def _layer(model: Any) -> Any:
    """The head itself, with its weights also where others of the model stay in their files."""
    if (stream := getattr(model, "stream", None)) is not None:
        stream.hold_head()
    return model.get_output_embeddings()


class _Probe:
    """A model's logits for hidden states that are given to it instead of its own, [P, V]."""

    def __init__(self, model: PreTrainedModel, weight_VD: Tensor) -> None:
        self._model, self._weight_VD = model, weight_VD
        ids_BT = torch.arange(8, device=weight_VD.device).unsqueeze(0) % len(weight_VD)
        self._ids_BT = ids_BT
        self._given: Tensor | None = None
        with self._watched() as seen:
            self.logits(None)
        states_PD = seen[-1].flatten(0, 1).double()
        # Directions are the model's own, so that whatever stands between is passed as in earnest.
        self._unit_PD = states_PD / (states_PD @ weight_VD.double().t()).abs().amax().clamp(min=1e-12)

    def given(self, size: float) -> Tensor:
        """Hidden states whose largest product with the head is `size`."""
        return (self._unit_PD * size).to(self._weight_VD.dtype)

    def logits(self, states_PD: Tensor | None) -> Tensor:
        """The model's logits [P, V], in fp64, for these last hidden states."""
        self._given = states_PD
        training = self._model.training
        self._model.eval()
        with torch.no_grad(), self._watched():
            found: Tensor = self._model(input_ids=self._ids_BT, use_cache=False).logits
        self._model.train(training)
        return found.flatten(0, 1).double()

    def product(self, states_PD: Tensor) -> Tensor:
        """The head's product alone, in fp64."""
        return linear(states_PD.double(), self._weight_VD.double())

    def scale(self, bias: Tensor | None) -> float:
        """Slope of logits over products, where these are small."""
        states_PD = self.given(_SMALL)
        product, logits = self.product(states_PD), self.logits(states_PD)
        bare = logits if bias is None else logits - bias.double()
        return float((bare * product).sum() / (product * product).sum())

    def cap(self, scale: float, bias: Tensor | None) -> float | None:
        """The largest logit, where there is a largest one."""
        states_PD = self.given(_LARGE / max(abs(scale), 1e-12))
        expected = self.product(states_PD) * scale + (0 if bias is None else bias.double())
        largest = float(self.logits(states_PD).abs().amax())
        return None if largest > 0.99 * float(expected.abs().amax()) else largest

    def agrees(self, found: Head, size: float) -> bool:
        """Whether the head gives the model's logits, up to the rounding of its type."""
        states_PD = self.given(size / max(abs(found.scale), 1e-12))
        product = self.product(states_PD) * found.scale
        ours = capped(product if found.bias is None else product + found.bias.double(), found.cap)
        theirs = self.logits(states_PD)
        rounding = 16 * torch.finfo(self._weight_VD.dtype).eps + 1e-4
        return bool((ours - theirs).abs().amax() <= rounding * theirs.abs().amax())

    @contextmanager
    def _watched(self) -> Iterator[list[Tensor]]:
        """Give the head other hidden states than the model's own; these are kept."""
        seen: list[Tensor] = []

        def replace(_: nn.Module, __: Any, output: Any) -> Any:
            seen.append(output.last_hidden_state)
            if self._given is not None:
                output.last_hidden_state = self._given.view_as(output.last_hidden_state)
            return output

        # Some (OPT) go past their base model, to the decoder in it.
        bases = {id(base): base for base in (self._model.base_model, self._model.get_decoder()) if base is not None}
        handles = [base.register_forward_hook(replace) for base in bases.values()]
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()


def _exact(config: Any, scale: float, cap: float | None) -> tuple[float, float | None]:
    """The numbers that a configuration has for what was measured; the measured ones where it has none."""
    values = {
        float(v) for v in config.to_dict().values() if isinstance(v, int | float) and v and not isinstance(v, bool)
    }
    ratios = {getattr(config, "dim_model_base", None) or 0}
    width = getattr(config, "hidden_size", None)
    scales = {1.0, *values, *(1 / value for value in values), *(r / width for r in ratios if r and width)}
    return _nearest(scale, scales), None if cap is None else _nearest(cap, values)


def _nearest(measured: float, known: set[float]) -> float:
    best = min(known, key=lambda value: abs(value - measured), default=measured)
    return best if math.isclose(best, measured, rel_tol=_PRECISE) else measured
