"""Tiny random models of the families that teachers come from, by the fields of their configurations."""

from __future__ import annotations

from typing import Any

VOCAB = 64
_LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_FULL = {**_LLAMA, "num_key_value_heads": 4}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": {**_LLAMA, "head_dim": 8},
    "mistral": _LLAMA,
    "gemma2": {**_LLAMA, "head_dim": 8, "final_logit_softcapping": 30.0},
    "gemma3_text": {**_LLAMA, "head_dim": 8, "final_logit_softcapping": 20.0},
    "phi": _FULL,
    "gpt_neox": {key: value for key, value in _FULL.items() if key != "num_key_value_heads"},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "opt": {
        "hidden_size": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "word_embed_proj_dim": 32,
    },
    "granite": {**_LLAMA, "logits_scaling": 3.0},
    "cohere": {**_LLAMA, "logit_scale": 0.0625},
    "olmo2": _LLAMA,
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "new_decoder_architecture": False},
    "hyperclovax": {**_LLAMA, "logits_scaling": 0.125},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "max_position_embeddings": 64,
    },
    "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 8, "n_positions": 64},
    "phi3": {**_FULL, "pad_token_id": None},
}
FAMILIES["opt_projected"] = {**FAMILIES["opt"], "word_embed_proj_dim": 16}
SCALES = {"granite": 1 / 3, "cohere": 0.0625, "hyperclovax": 0.125}
CAPS = {"gemma2": 30.0, "gemma3_text": 20.0}


def build(name: str, seed: int = 0, **changes: Any) -> Any:
    """A model of a family with random weights, in evaluation mode; logits of one are large enough to feel a cap."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from orchestrator.models.zoo._base import attention

    options = {"vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
    config = AutoConfig.for_model(name.removesuffix("_projected"), **{**options, **FAMILIES[name], **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention(config)).eval()
        with torch.no_grad():
            head = model.get_output_embeddings()
            head.weight.mul_(40)
            if getattr(head, "bias", None) is not None:
                head.bias.normal_()
    return model
