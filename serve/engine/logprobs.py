"""Log-probabilities of tokens and of the most probable ones in their place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from serve.messages import TokenLogprob


def describe(logits_TV: Tensor, tokens: Sequence[int], top: int, pieces: Sequence[bytes]) -> list[TokenLogprob]:
    """Each token's log-probability.

    Args:
        logits_TV: of the model, fp32.
        tokens: T ids.
        top: how many of the most probable tokens to give beside each.
        pieces: bytes of each id.
    """
    if not tokens:
        return []
    found_TV = logits_TV.float().log_softmax(dim=-1)
    own = found_TV.gather(1, torch.tensor(tokens, device=found_TV.device)[:, None])[:, 0].tolist()
    best = found_TV.topk(min(top, found_TV.shape[-1]), dim=-1)
    beside = [
        tuple(TokenLogprob(token, pieces[token], value) for token, value in zip(ids, values, strict=True))
        for ids, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
    return [
        TokenLogprob(token, pieces[token], value, others)
        for token, value, others in zip(tokens, own, beside, strict=True)
    ]
