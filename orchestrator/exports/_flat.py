"""An expert as one graph: token ids and the keys and values so far in, logits and all keys and values out.

B sequences, T tokens, P tokens before them, H key-value heads, D their width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.exports._source import Expert
from orchestrator.models import head
from orchestrator.models.mixture_files import load_mixture

_SLIDING = "sliding_attention"


class Flat(nn.Module):
    """One model, or an expert and its common expert, whose keys and values come after those of the expert.

    Attributes:
        layers: of all models, one after the other: (key-value heads, width of a head).
    """

    def __init__(self, models: list[Any], combiner: nn.Module | None, vocabulary: int) -> None:
        super().__init__()
        self.models, self.combiner = nn.ModuleList(models), combiner
        self._vocabulary = vocabulary
        self.layers = [shape for model in models for shape in _layers(model.config)]

    @classmethod
    def of(cls, expert: Expert) -> Flat:
        """The expert, with its common expert where it computes beside one.

        Raises:
            ModelError, ArtifactError: see :meth:`Expert.model`.
        """
        if not expert.is_combined:
            return cls([expert.model()], None, expert.vocabulary).eval()
        branch = load_mixture(expert.folder.parent.parent, languages=[expert.name]).branch(expert.name)
        return cls([branch.expert, branch.common], branch.combiner, expert.vocabulary).float().eval()

    def forward(
        self, input_ids_BT: Tensor, attention_mask_BS: Tensor, position_ids_BT: Tensor, past: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """Logits [B, T, V], and the keys and values [B, H, P + T, D] of every layer.

        Args:
            input_ids_BT: int64.
            attention_mask_BS: int64 [B, P + T]: 1 for a token, 0 for padding.
            position_ids_BT: int64.
            past: key, value, key, value … of the layers, [B, H, P, D].
        """
        states, present, pairs = list[Tensor](), list[Tensor](), iter(past)
        for model in self.models:
            cache = _cache(pairs, len(_layers(model.config)))
            base: Any = model.base_model
            output = base(
                input_ids=input_ids_BT,
                attention_mask=_masks(model.config, attention_mask_BS, input_ids_BT.shape[1]),
                position_ids=position_ids_BT,
                past_key_values=cache,
                use_cache=True,
            )
            states.append(output.last_hidden_state)
            for layer in output.past_key_values.layers:
                present += [layer.keys, layer.values]
        hidden_BTD = states[0] if self.combiner is None else self.combiner(*states)
        layer = head(self.models[0]).rows(slice(self._vocabulary))
        return layer.logits(hidden_BTD), *present


def _masks(config: Any, attention_mask_BS: Tensor, tokens: int) -> Tensor | dict[str, Tensor]:
    """What a model takes for its mask: one, or one for each kind of its layers, [B, 1, T, P + T].

    Args:
        config: of the model.
        attention_mask_BS: 1 for a token, 0 for padding.
        tokens: T.
    """
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    if not {_SLIDING, "full_attention"}.issuperset(kinds) or not kinds:
        return _mask(attention_mask_BS, tokens, window)
    if _SLIDING not in kinds:
        return _mask(attention_mask_BS, tokens, None)
    return {kind: _mask(attention_mask_BS, tokens, window if kind == _SLIDING else None) for kind in sorted(kinds)}


def _mask(attention_mask_BS: Tensor, tokens: int, window: int | None) -> Tensor:
    """0 where a token sees a place, [B, 1, T, P + T]: those up to its own that are no padding, or the last of these."""
    places = torch.arange(attention_mask_BS.shape[1], device=attention_mask_BS.device)
    seen_TS = places[None] <= places[-tokens:][:, None]
    if window is not None:
        seen_TS = seen_TS & (places[None] > places[-tokens:][:, None] - window)
    allowed_BTS = seen_TS[None] & attention_mask_BS[:, None].bool()
    return torch.where(allowed_BTS, 0.0, torch.finfo(torch.float32).min)[:, None]


def _layers(config: Any) -> list[tuple[int, int]]:
    heads = int(config.num_attention_heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    kept = int(getattr(config, "num_key_value_heads", None) or heads)
    return [(kept, width)] * int(config.num_hidden_layers)


def _cache(pairs: Iterator[Tensor], layers: int) -> Any:
    from transformers import DynamicCache

    cache = DynamicCache()
    for index in range(layers):
        cache.update(next(pairs), next(pairs), index)
    return cache
