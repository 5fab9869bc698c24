"""GPT-2 folders read without transformers, which would take a process of a small expert half of its memory."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from orchestrator.artifacts import check_files

_DEFAULTS = {
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "n_inner": None,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
    "tie_word_embeddings": True,
}


class Part(SimpleNamespace):
    """A module's place in the tree of a model: its parameters and its own parts, by name; parts of a list by number."""


def read_gpt2(folder: Path, device: str = "cpu") -> Any | None:
    """A model's weights in the shape of transformers' `GPT2LMHeadModel`; None: transformers has to look at it.

    Raises:
        ArtifactError: a file of an artifact has changed since it was published.
    """
    check_files(folder)
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if told["architectures"] != ["GPT2LMHeadModel"] or told["model_type"] != "gpt2" or told["dtype"] != "float32":
            return None
        config = Part(**{**_DEFAULTS, **told, "max_position_embeddings": told["n_positions"]})
        from safetensors.torch import load_file

        weights = load_file(folder / "model.safetensors", device)
    except Exception:  # transformers says what is wrong with it
        return None
    if {name: tuple(each.shape) for name, each in weights.items()} != _shapes(config) or not all(
        each.dtype == torch.float32 for each in weights.values()
    ):
        return None
    model = _tree(weights, config)
    head = Part(weight=weights.get("lm_head.weight", weights["transformer.wte.weight"]), bias=None)
    model.config, model.device = config, torch.device(device)
    model.get_output_embeddings, model.parameters = lambda: head, weights.values
    model.eval = lambda: model
    return model


def _shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """Of every weight, by name."""
    width, inner = config.n_embd, config.n_inner or 4 * config.n_embd
    linear: dict[str, tuple[int, ...]] = {
        "attn.c_attn": (width, 3 * width),
        "attn.c_proj": (width, width),
        "mlp.c_fc": (width, inner),
        "mlp.c_proj": (inner, width),
    }
    layer = {f"{name}.weight": shape for name, shape in linear.items()}
    layer |= {f"{name}.bias": shape[1:] for name, shape in linear.items()}
    layer |= {f"{norm}.{part}": (width,) for norm in ("ln_1", "ln_2") for part in ("weight", "bias")}
    found = {f"h.{index}.{name}": shape for index in range(config.n_layer) for name, shape in layer.items()}
    found |= {"wte.weight": (config.vocab_size, width), "wpe.weight": (config.n_positions, width)}
    found |= {"ln_f.weight": (width,), "ln_f.bias": (width,)}
    whole = {f"transformer.{name}": shape for name, shape in found.items()}
    return whole if config.tie_word_embeddings else {**whole, "lm_head.weight": (config.vocab_size, width)}


def _tree(weights: dict[str, torch.Tensor], config: Any) -> Any:
    root = Part()
    for name, weight in weights.items():
        part, *path = root, *name.split(".")
        for word in path[:-1]:
            part = vars(part).setdefault(word, Part())
        setattr(part, path[-1], weight)
    body = root.transformer
    body.h = [vars(body.h)[str(index)] for index in range(config.n_layer)]
    for norm in (body.ln_f, *(each for block in body.h for each in (block.ln_1, block.ln_2))):
        norm.normalized_shape, norm.eps = (config.n_embd,), config.layer_norm_epsilon
    return root
