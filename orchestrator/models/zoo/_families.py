"""What a configuration says of a pretrained model before its weights are read, and its rows without tokens."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from orchestrator.errors import ModelError
from orchestrator.models.rows import keep_rows

_BETWEEN = {
    "modernbert-decoder": "a dense layer and a norm",
    "bert": "a dense layer and a norm, and each token sees those after it",
    "roberta": "a dense layer and a norm, and each token sees those after it",
}
"""Families with something between last hidden states and head, by `model_type`; others show when they are loaded."""


def check_family(config: Any, name: str) -> None:
    """Refuse what the configuration shows to be no causal language model whose logits follow from hidden states.

    Raises:
        ModelError: it is not; why is said.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    kind, fix = str(config.model_type), "take a decoder with a language-model head: llama, qwen3, gemma, gpt2, …"
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{name} is an encoder and a decoder ({kind}), no causal language model", _WHERE, fix)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(f"{name} ({kind}) is no causal language model", _WHERE, fix)
    if kind in _BETWEEN:
        what = f"{name} ({kind}) has {_BETWEEN[kind]} between its last hidden states and its head"
        raise ModelError(f"{what}: its logits can't be computed from these", _WHERE, fix)
    classes = [str(each) for each in getattr(config, "architectures", None) or ()]
    bare = classes and all(each.endswith("Model") and not each.endswith("LMHeadModel") for each in classes)
    if bare and not getattr(config, "tie_word_embeddings", False):
        what = f"{name} was saved without a head ({classes[0]}), and its head is not its embedding"
        raise ModelError(what, _WHERE, "save the model with its head: AutoModelForCausalLM")


def quantisation(config: Any) -> str:
    """The method by which a model's weights are quantised, as its configuration has it; "" where they are not."""
    about = getattr(config, "quantization_config", None) or getattr(config, "compression_config", None)
    if about is None:
        return ""
    method = about.get("quant_method") if isinstance(about, dict) else getattr(about, "quant_method", None)
    return str(getattr(method, "value", method) or "a method of its own")


def cut_rows(model: Any, rows: int, held_K: Tensor | None = None) -> Any:
    """A model without the rows of embedding and head that no token has, in place.

    Left in, they would be given probability: by the teacher to the student, and to whatever samples from either.

    Args:
        model: of transformers, on any device.
        rows: tokens of the tokenizer.
        held_K: the rows that tokens have, where others lie between them, int64.
    """
    if held_K is not None:
        model.config.get_text_config().pad_token_id = None
        keep_rows(model, held_K)
    elif model.get_input_embeddings().weight.shape[0] > rows:
        text = model.config.get_text_config()  # of a model that sees images too
        if (getattr(text, "pad_token_id", None) or 0) >= rows:
            text.pad_token_id = None
        model.resize_token_embeddings(rows, mean_resizing=False)
    return model


_WHERE = "models.zoo.pretrained"
