"""Models from their specification: build, count, take apart into hidden states and head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from orchestrator.config.base import PluginSpec, build
from orchestrator.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from orchestrator.models.zoo._base import Architecture


class Decoder(Protocol):
    """What has hidden states and a head without being a model of transformers: a branch of a mixture."""

    def base_model(self, **arguments: Any) -> Any:
        """The output without the head; its `last_hidden_state` is what the head is for."""

    def get_output_embeddings(self) -> Any:
        """The head."""


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
        check_head(model)
    return model.to(device)


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


def head(model: nn.Module | Decoder) -> tuple[Tensor, Tensor | None]:
    """The output head: weight [V, D] (the embedding itself where tied) and bias [V] or None."""
    module: Any = model
    layer = module.get_output_embeddings()
    return layer.weight, getattr(layer, "bias", None)


def check_head(model: nn.Module) -> None:
    """Make sure that logits are the head applied to :func:`hidden_states`, as the losses assume.

    Raises:
        ModelError: the model does something else: scaled or soft-capped logits, a projection before the head.
    """
    module: Any = model
    was_training = module.training
    module.eval()
    weight_VD, bias_V = head(module)
    ids_BT = torch.arange(8, device=weight_VD.device).unsqueeze(0) % len(weight_VD)
    with torch.no_grad():
        hidden_BTD = hidden_states(module, ids_BT)
        fits = hidden_BTD.shape[-1] == weight_VD.shape[1]
        ours = nn.functional.linear(hidden_BTD, weight_VD, bias_V) if fits else None
        theirs = module(input_ids=ids_BT, use_cache=False).logits
    module.train(was_training)
    if ours is None or not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max())):
        raise ModelError(
            f"the logits of {type(model).__name__} are not its head applied to its last hidden states",
            where="models.zoo",
            fix="take an architecture without logit scaling or soft-capping: gpt2, mistral, phi, llama, qwen, …",
        )


def resolve(spec: PluginSpec | Architecture) -> Architecture:
    """The architecture a specification names."""
    if isinstance(spec, PluginSpec):
        architecture: Architecture = build("models.zoo", spec)
        return architecture
    return spec
