"""Losses of experts that have tokens of their own, on the same blocks: each expert reads the text in its tokens.

A block's loss is then that of the same text as any other model's, so it is compared by text: by bytes, or by the tokens
that the blocks are cut in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.errors import ModelError
from orchestrator.evaluation.perplexity import check_finite, token_losses
from orchestrator.models.mixture import Mixture
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.kept import Kept, vocabulary_of


def own_vocabularies(mixture: Path, languages: tuple[str, ...]) -> dict[str, Kept | None]:
    """The cut vocabularies of a mixture's experts, None for an expert without; empty where none has one.

    Raises:
        ArtifactError: one is damaged.
    """
    found = {language: vocabulary_of(mixture / "experts" / language) for language in languages}
    return found if any(kept is not None for kept in found.values()) else {}


def respelled_losses(
    mixture: Mixture,
    vocabularies: Mapping[str, Kept | None],
    blocks: TokenBlocks,
    language: str,
    count: int,
    batch: int = 16,
) -> dict[str, NDArray[np.float64]]:
    """Summed negative log-likelihood, in nats, of the text of each of a language's first N blocks, by expert.

    Tokens that an expert lacks are spelled in its own, as its tokenizer spells them alone. The text of all blocks is
    one stream, cut anew into windows of as many tokens as a block has.

    Args:
        mixture: in evaluation mode.
        vocabularies: by expert; None: it has that of the blocks.
        blocks: the packed split.
        language: of the blocks.
        count: how many, N.
        batch: windows in memory at once.

    Returns:
        float64 [N] by expert. No mean over experts: their probabilities are of different tokens.

    Raises:
        ModelError: an expert's vocabulary is not of the blocks, or a loss is not finite.
    """
    row = blocks.languages.index(language)
    rows = np.stack([np.full(count, row), np.arange(count)], axis=1)
    gathered = blocks.gather(rows)
    stream = np.concatenate([gathered[:1, 0], gathered[:, 1:].ravel()])  # a block begins with the last one's last token
    found = {}
    for name, kept in vocabularies.items():
        if kept is not None and kept.size != blocks.vocab_size:
            what = f"the expert {name} was cut from {kept.size:,} tokens, the blocks have {blocks.vocab_size:,}"
            raise ModelError(what, "experts.vocabulary", "train it again (--force)")
        own, sources = (stream, np.arange(len(stream))) if kept is None else kept.spell(stream)
        losses = _stream_losses(mixture, name, own, blocks.context, batch)
        targets = sources[1:]
        # What is left of the first token is no block's target.
        of_text = targets > 0
        found[name] = np.bincount(
            (targets[of_text] - 1) // blocks.context, weights=losses[of_text], minlength=count
        ).astype(np.float64)
        check_finite(found[name], language)
    return found


def _stream_losses(
    mixture: Mixture, name: str, ids_M: NDArray[np.int64], context: int, batch: int
) -> NDArray[np.float64]:
    """Losses [M−1] of each token after the first of a stream, in windows that begin with the last one's last token."""
    model = mixture.branch(name)
    device, windows = next(mixture.parameters()).device, -(-(len(ids_M) - 1) // context)
    padded = np.zeros(windows * context + 1, np.int64)
    padded[: len(ids_M)] = ids_M
    cut = np.lib.stride_tricks.sliding_window_view(padded, context + 1)[::context]
    parts = []
    for start in range(0, windows, batch):
        tokens = torch.from_numpy(cut[start : start + batch].copy()).to(device)
        with torch.inference_mode():
            parts.append(token_losses(model, tokens).double().cpu().numpy().ravel())
    return np.concatenate(parts)[: len(ids_M) - 1]
