"""Models from their specification: build, count, take apart into hidden states and head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from orchestrator.config.base import PluginSpec, build
from orchestrator.models.heads import FIELD, Decoder, find_head
from orchestrator.models.streamed import streamed
from orchestrator.models.zoo._base import attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from orchestrator.models.zoo._base import Architecture


def build_model(
    spec: PluginSpec | Architecture, vocab_size: int, context: int, seed: int, device: str | torch.device = "cpu"
) -> PreTrainedModel:
    """A causal language model in fp32, with the same weights for the same seed whatever was drawn before.

    Args:
        spec: architecture, as a recipe names it or as the plug-in itself.
        vocab_size: rows of the embedding and of the head.
        context: longest sequence in tokens.
        seed: of the initial weights; torch's global generator is left as it was.
        device: "cpu", "cuda" or "meta" (shapes only). Weights are drawn on the CPU, so they are equal on every device.

    Raises:
        ModelError: the model does not exist or does not fit the vocabulary or context.
        ResourceError: a pretrained model can't be fetched.
    """
    architecture = resolve(spec)
    if torch.device(device).type == "meta":
        with torch.device("meta"):
            return architecture.build(vocab_size, context)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = architecture.build(vocab_size, context)
    if not architecture.plain_head:
        find_head(model)
    return model.to(device)


def take_model(spec: PluginSpec, vocab_size: int, context: int) -> PreTrainedModel:
    """A pretrained model as it is, with weights that stay in their files where these can be used as they lie.

    What follows its head is measured with its first layer alone: no more of it needs to be in memory.

    Args:
        spec: architecture, as a recipe names it.
        vocab_size: rows of the embedding and of the head.
        context: longest sequence in tokens.

    Raises:
        ModelError, ResourceError: see :func:`build_model`.
    """
    architecture: Any = resolve(spec)
    if not getattr(architecture, "is_plain", False):
        return build_model(architecture, vocab_size, context, seed=0)
    model: PreTrainedModel = architecture.mapped(vocab_size, context).requires_grad_(False).eval()
    probed = streamed(model, layers=1)
    find_head(probed)
    if hasattr(probed.config, FIELD):
        setattr(model.config, FIELD, getattr(probed.config, FIELD))
    return model


def hidden_states(model: nn.Module | Decoder, ids_BT: Tensor) -> Tensor:
    """Last hidden states, after the final norm: what the head is applied to.

    Args:
        model: a transformers causal language model, or a branch of a mixture.
        ids_BT: token ids, int64 [B, T].

    Returns:
        [B, T, D], in the precision of the forward pass.
    """
    module: Any = model
    hidden: Tensor = module.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state
    return hidden


def head_width(config: Any) -> int:
    """Width of the hidden states that the head of a configuration takes: not always `hidden_size` (OPT projects)."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention(config))
    return int(model.get_output_embeddings().weight.shape[1])


def resolve(spec: PluginSpec | Architecture) -> Architecture:
    """The architecture a specification names."""
    if isinstance(spec, PluginSpec):
        architecture: Architecture = build("models.zoo", spec)
        return architecture
    return spec
