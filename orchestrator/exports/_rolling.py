"""Bits per byte of whole documents as lm-evaluation-harness counts them: each by itself, after the begin token.

A document is read in windows of the context's length, each of which begins where the one before ended; the last one
sees as much text before it as fits. MoME's report counts packed blocks instead, with the tokens between documents: the
two figures are near each other, not equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from orchestrator.evaluation.perplexity import head_losses
from orchestrator.exports._source import Expert
from orchestrator.models import head, hidden_states

_BATCH = 16


def bits_per_byte(expert: Expert, model: Any, documents: Sequence[str]) -> float:
    """Of all documents together.

    Args:
        expert: whose tokenizer it is.
        model: the expert's, in evaluation mode.
        documents: at least one that is not empty.
    """
    context = int(model.config.max_position_embeddings)
    found = (window for text in documents for window in windows(expert.tokenizer.encode_prompt(text), context))
    nats = sum(_losses(model, batch) for batch in _batches(found))
    return nats / math.log(2) / sum(len(text.encode()) for text in documents)


def windows(ids: Sequence[int], context: int) -> Iterator[tuple[list[int], int]]:
    """Windows of a document.

    Args:
        ids: the begin token and the document's.
        context: tokens that the model sees at once.

    Yields:
        Tokens, at most `context` + 1 of them, and how many of the last ones are counted there.
    """
    for begin in range(1, len(ids), context):
        end = min(begin + context, len(ids))
        yield list(ids[max(0, end - context - 1) : end]), end - begin


def _batches(found: Iterable[tuple[list[int], int]]) -> Iterator[list[tuple[list[int], int]]]:
    """Windows of one length together."""
    waiting: dict[int, list[tuple[list[int], int]]] = {}
    for window in found:
        batch = waiting.setdefault(len(window[0]), [])
        batch.append(window)
        if len(batch) == _BATCH:
            yield waiting.pop(len(window[0]))
    yield from waiting.values()


@torch.inference_mode()
def _losses(model: Any, batch: list[tuple[list[int], int]]) -> float:
    """Nats of the counted tokens of windows of one length."""
    ids_BT = torch.tensor([ids for ids, _ in batch])
    losses_BT = head_losses(hidden_states(model, ids_BT[:, :-1]), head(model), ids_BT[:, 1:])
    return sum(float(row[-count:].sum(dtype=torch.float64)) for row, (_, count) in zip(losses_BT, batch, strict=True))
