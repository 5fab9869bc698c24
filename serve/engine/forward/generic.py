"""Any causal language model of transformers, row after row with transformers' own cache: slow, and always right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from orchestrator.heads import capped
from orchestrator.models import find_head
from serve.engine.forward.step import Step
from serve.engine.weights import Linear, Pack


class RowCaches:
    """A cache of transformers for each slot; what they hold can't be shared."""

    def __init__(self, slots: int) -> None:
        self.rows: list[Any] = [None] * slots

    def reserve(self, length: int) -> None:
        """They grow by themselves."""

    def move(self, source: int, target: int, length: int) -> None:  # noqa: ARG002
        """See :class:`serve.engine.cache.Cache`."""
        self.rows[target], self.rows[source] = self.rows[source], None

    def read(self, slot: int, start: int, end: int) -> None:  # noqa: ARG002
        """Nothing that another row could use."""
        return

    def write(self, slot: int, start: int, kept: Sequence[Tensor]) -> None:
        """Never called, as :meth:`read` gives nothing."""
        raise NotImplementedError

    def clear(self, slot: int) -> None:
        """See :class:`serve.engine.cache.Cache`."""
        self.rows[slot] = None


class Generic:
    """See :class:`Forward`. The head alone is packed; everything else is transformers'.

    Raises:
        ModelError: its logits are not its head applied to its last hidden states.
    """

    reads_as_it_decodes = False

    def __init__(self, model: Any, pack: Pack) -> None:
        found = find_head(model)
        self._scale, self._cap = found.scale, found.cap
        self._model = model
        self.context, self.device = int(model.config.max_position_embeddings), model.device
        # The scale goes to the states, so that the packed product may have its bias.
        self._head: Linear = pack(found.weight, found.bias)

    def cache(self, slots: int) -> RowCaches:
        """See :class:`Forward`."""
        return RowCaches(slots)

    def hidden(self, step: Step, cache: RowCaches) -> Tensor:
        """See :class:`Forward`."""
        states = []
        for piece in (*step.decoding, *step.prompts):
            found = self._model.base_model(
                input_ids=torch.tensor([piece.ids], device=self.device),
                past_key_values=cache.rows[piece.slot] if piece.start else None,
                use_cache=True,
            )
            cache.rows[piece.slot] = found.past_key_values
            states.append(found.last_hidden_state[0, len(piece.ids) - piece.wanted :])
        return torch.cat(states)

    def logits(self, hidden_RD: Tensor) -> Tensor:
        """See :class:`Forward`."""
        return capped(self._head(hidden_RD if self._scale == 1 else hidden_RD * self._scale), self._cap)
