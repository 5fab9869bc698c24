"""Faster operations of the same formulas, for models that train or are read."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.products import linear

LONGEST_SCORES = 512
"""Longest context whose attention scores, context × context for each head, are held whole."""
UNMASKED = "causal_sdpa"
"""Name, for transformers, of torch's own attention to all tokens before, which takes no mask."""
CAUSAL = frozenset(("gpt2", "llama", "mistral", "phi", "qwen2", "qwen3"))
"""Families of which each layer reads all tokens before, or those in a sliding window."""


def quicken(model: nn.Module, context: int, *, bf16: bool) -> None:
    """Let a model compute faster on a CPU, in place: equal but for rounding. A second call changes nothing.

    Parameters, their names and hooks stay, but a configuration may not: such a model is not to be saved as a folder.

    - Products of linear layers by the faster library, see :mod:`orchestrator.products`.
    - GELU by tanh as one operation instead of the eight that transformers writes it in.
    - In bf16 attention by its definition: on CPUs torch's fused one (2.13) takes four times as long, most of it for the
      gradient.

    Args:
        model: a transformers model, or one of several.
        context: longest sequence.
        bf16: what products are computed in.
    """
    from transformers import PreTrainedModel
    from transformers.activations import NewGELUActivation

    _multiply_faster(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))
        if bf16 and context <= LONGEST_SCORES and isinstance(module, PreTrainedModel):
            _hold_scores(module)


def _multiply_faster(model: nn.Module) -> None:
    """Let linear layers multiply by the faster library; under autocast they compute as before."""
    faster = _faster_layers()
    for module in model.modules():
        module.__class__ = faster.get(type(module), type(module))


@cache
def _faster_layers() -> dict[type[nn.Module], type[nn.Module]]:
    """Kinds of linear layers, and what multiplies in their place."""
    from transformers.pytorch_utils import Conv1D

    class FasterLinear(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return linear(x, self.weight, self.bias)

    class FasterConv1D(Conv1D):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            return linear(x, self.weight.t(), self.bias)

    return {nn.Linear: FasterLinear, Conv1D: FasterConv1D}


def narrow(model: nn.Module, dtype: torch.dtype) -> None:
    """Hold weights of GPT-2's linear layers in autocast's type, in place: for a frozen model that runs in it alone.

    Autocast rounds a frozen weight in each pass; results are the same to the last bit. Other models stay as they are:
    their own code may leave autocast for some layers. A second call changes nothing.
    """
    from transformers.pytorch_utils import Conv1D

    for module in model.modules():
        if isinstance(module, Conv1D) and module.weight.dtype == torch.float32 and not module.weight.requires_grad:
            module.to(dtype)


def _hold_scores(model: Any) -> None:
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation("eager")


def run_ahead(model: nn.Module, context: int) -> None:
    """Let the host ask a GPU for a forward pass without waiting for the one before, in place: equal to the last bit.

    transformers (5.23) looks into the positions for packed texts in each pass that has neither mask nor cache, and
    waits for the GPU to tell. It does not where attention is of a kind that it makes no masks for.

    Args:
        model: a transformers model, or one of several; families that need a mask stay as they are.
        context: longest sequence.
    """
    from transformers import AttentionInterface, PreTrainedModel
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    AttentionInterface.register(UNMASKED, sdpa_attention_forward)
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module.config.model_type in CAUSAL:
            window = getattr(module.config, "sliding_window", None)
            if module.config._attn_implementation == "sdpa" and (window is None or window >= context):
                module.set_attn_implementation(UNMASKED)
