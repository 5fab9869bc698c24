"""Text that a model makes of the beginning of a text, drawn from its probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from orchestrator.models import head, hidden_states
from orchestrator.models.streamed import all_of
from orchestrator.tokens.special import SpecialTokens, special_tokens
from orchestrator.tokens.tokenizer import decode, encode, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from orchestrator.models.mixture import Branch

NEW_TOKENS = 40
"""Of a continuation, at most; half a context where that is less."""
TEMPERATURE = 0.7
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Writer:
    """Draws continuations from one model, in its own tokens.

    Attributes:
        model: in evaluation mode.
        tokenizer: folder of its tokenizer.
        context: tokens that it sees at most.
    """

    model: PreTrainedModel | Branch
    tokenizer: Path
    context: int

    def continue_text(self, prompts: Sequence[str], seed: Sequence[int]) -> list[str]:
        """A continuation of each prompt, drawn at :data:`TEMPERATURE`; it ends where the model ends the text.

        A draw depends on the seed and the number of the prompt alone, and hardly on the machine: it compares a number
        of its own with the cumulated probabilities.
        """
        tokenizer = load_tokenizer(self.tokenizer)
        special = special_tokens(self.tokenizer, tokenizer)
        encoded = list(enumerate(encode(tokenizer, prompts)))

        def written(number: int, ids: Sequence[int]) -> str:
            draws = np.random.default_rng([*seed, number]).random(min(NEW_TOKENS, self.context // 2))
            prompt = [*special.begin, *map(int, ids)][len(draws) - self.context :]
            whole = decode(tokenizer, [*prompt, *self._tokens(prompt, draws, special)])
            return whole[len(decode(tokenizer, prompt)) :].rstrip(_UNFINISHED)

        return list(
            all_of(self.model, [partial(written, number, list(map(int, ids))) for number, ids in encoded], self.context)
        )

    def _tokens(self, prompt: Sequence[int], draws: np.ndarray, special: SpecialTokens) -> list[int]:
        made = list[int]()
        for draw in draws:
            with torch.inference_mode():
                ids_1T = torch.tensor([[*prompt, *made]], device=self.model.device)
                token = _drawn(head(self.model).logits(hidden_states(self.model, ids_1T)[0, -1]), float(draw))
            if token in special.eos:
                break
            made.append(token)
        return made


def _drawn(logits_V: Tensor, draw: float) -> int:
    """The token in whose part of the cumulated probabilities a number from 0 to 1 lies."""
    cumulated = torch.softmax(logits_V.double() / TEMPERATURE, dim=-1).cumsum(0)
    place = torch.searchsorted(cumulated, draw * float(cumulated[-1]), right=True)
    return min(int(place), len(logits_V) - 1)
