"""Architectures as llama.cpp knows them: what describes one, and its tensors by llama.cpp's names.

Names come from the package gguf. What it can't know is here: which matrices are transposed (GPT-2's are stored the
other way round), and in which order rotary positions pair the rows of a query (in llama.cpp's `llama`, neighbours; in
transformers, a row with the one half a head further).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = Iterator[tuple[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class Family(ABC):
    """An architecture. name: llama.cpp's."""

    name: str

    @abstractmethod
    def describe(self, writer: Any, config: Any) -> None:
        """Write the fields that say how large the model is, and how it computes."""

    def context(self, config: Any) -> int:
        """Tokens that it sees at once."""
        return int(config.max_position_embeddings)

    def refuses(self, config: Any) -> str:  # noqa: ARG002
        """Why llama.cpp would compute something else, for a sentence; "": it does not."""
        return ""

    def tensors(self, model: Any) -> Tensors:
        """Every tensor by llama.cpp's name, fp32; of a tied head there is none."""
        import gguf

        known = gguf.get_tensor_name_map(_arch(self.name), model.config.num_hidden_layers)
        tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
        for name, tensor in model.state_dict().items():
            if tied and name.startswith("lm_head"):
                continue
            found = known.get_name(name, try_suffixes=(".weight", ".bias"))
            assert found is not None, name
            yield found, np.ascontiguousarray(self.arranged(name, tensor.float().numpy(), model.config))

    def arranged(self, name: str, array: NDArray[np.float32], config: Any) -> NDArray[np.float32]:  # noqa: ARG002
        """A tensor with its rows in llama.cpp's order."""
        return array


def _arch(name: str) -> Any:
    import gguf

    return next(arch for arch, known in gguf.MODEL_ARCH_NAMES.items() if known == name)


def _sizes(writer: Any, config: Any, feed_forward: int) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(feed_forward)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)


@dataclass(frozen=True)
class _GPT2(Family):
    name: str = "gpt2"

    def describe(self, writer: Any, config: Any) -> None:
        _sizes(writer, config, config.n_inner or 4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)

    def refuses(self, config: Any) -> str:
        if config.activation_function not in ("gelu_new", "gelu_pytorch_tanh"):
            return f"its activation is {config.activation_function}"
        plain = config.scale_attn_weights and not config.scale_attn_by_inverse_layer_idx
        return "" if plain else "it scales attention otherwise"

    def arranged(self, name: str, array: NDArray[np.float32], config: Any) -> NDArray[np.float32]:  # noqa: ARG002
        is_linear = array.ndim == 2 and name.rpartition(".")[0].rpartition(".")[2] in ("c_attn", "c_proj", "c_fc")
        return array.T if is_linear else array


def _head_width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _unlike_plain_rope(config: Any) -> str:
    kind = config.rope_parameters.get("rope_type", "default")
    return "" if kind == "default" else f"its rotary positions are of the kind {kind}"


@dataclass(frozen=True)
class _Llama(Family):
    name: str = "llama"

    def describe(self, writer: Any, config: Any) -> None:
        _sizes(writer, config, config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_dimension_count(_head_width(config))
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        writer.add_vocab_size(config.vocab_size)

    def refuses(self, config: Any) -> str:
        window = getattr(config, "sliding_window", None)
        if config.hidden_act != "silu":
            return f"its activation is {config.hidden_act}"
        if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
            return "its layers have biases"
        if window is not None and window < config.max_position_embeddings:
            return f"it sees {window} tokens at a time, and llama.cpp would see all"
        if _head_width(config) * config.num_attention_heads != config.hidden_size:
            return f"its heads are {_head_width(config)} wide"
        return _unlike_plain_rope(config)

    def arranged(self, name: str, array: NDArray[np.float32], config: Any) -> NDArray[np.float32]:
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        count = heads.get(name.rpartition(".")[0].rpartition(".")[2])
        if count is None:
            return array
        halves = array.reshape(count, 2, -1, array.shape[1])  # [heads, half, row of a half, inputs]
        return halves.swapaxes(1, 2).reshape(array.shape)


@dataclass(frozen=True)
class _Phi(Family):
    name: str = "phi2"

    def describe(self, writer: Any, config: Any) -> None:
        _sizes(writer, config, config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_eps(config.layer_norm_eps)
        writer.add_rope_dimension_count(int(config.rope_parameters["partial_rotary_factor"] * _head_width(config)))
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])

    def refuses(self, config: Any) -> str:
        if config.hidden_act not in ("gelu_new", "gelu_pytorch_tanh"):
            return f"its activation is {config.hidden_act}"
        return "it normalises queries" if config.qk_layernorm else _unlike_plain_rope(config)


FAMILIES: Mapping[str, Family] = {"gpt2": _GPT2(), "llama": _Llama(), "mistral": _Llama(), "phi": _Phi()}
"""By transformers' model types."""
