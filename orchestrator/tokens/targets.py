"""How many training tokens each language gets: equal text by tokens, bytes or characters, or shares by temperature."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from orchestrator.config.recipe import BalanceConfig
from orchestrator.tokens.balance import packed_tokens
from orchestrator.tokens.encoding import EncodedCorpus

_IDS = 1 << 24
"""Token ids that are counted at once."""
_COLUMNS = {"bytes": 0, "characters": 1}


def targets(
    corpus: EncodedCorpus, split: str, lengths: Mapping[str, np.ndarray], config: BalanceConfig
) -> dict[str, int]:
    """Training tokens of each language.

    Args:
        corpus: whose text it is.
        split: of it.
        lengths: language -> tokens of each document, int64 [documents].
        config: what to balance by.

    Raises:
        ArtifactError: the token ids are damaged.
    """
    available = {language: packed_tokens(each, corpus.delimiters) for language, each in lengths.items()}
    per_token = {
        language: 1.0 if config.unit == "tokens" else _amount(corpus, split, language, config.unit) / max(1, tokens)
        for language, tokens in available.items()
    }
    return shared(available, per_token, config)


def shared(available: Mapping[str, int], per_token: Mapping[str, float], config: BalanceConfig) -> dict[str, int]:
    """Tokens of each language, by what there is of it.

    Without a temperature all get as much of the unit, as little as the smallest has (or as `tokens_per_language` means
    on average). With one they get shares by size^(1/temperature): the largest all that it has, smaller ones more than
    theirs, again and again (Devlin et al. 2019; Conneau et al. 2020).

    Args:
        available: tokens of each language.
        per_token: the unit's amount of text in a token of each.
        config: what to balance by.
    """
    sizes = {language: tokens * per_token[language] for language, tokens in available.items()}
    power = 0.0 if config.temperature is None else 1 / config.temperature
    largest = max(1.0, *sizes.values())
    # Tokens of each, up to a factor: that of all languages together is what is left to choose.
    relative = {language: (size / largest) ** power / per_token[language] for language, size in sizes.items()}
    if config.tokens_per_language is not None:
        scale = config.tokens_per_language * len(relative) / sum(relative.values())
    elif config.temperature is None:
        scale = min(available[language] / each for language, each in relative.items())
    else:
        scale = largest
    found = {language: round(scale * each) for language, each in relative.items()}
    if config.temperature is None:
        return found
    return {language: min(tokens, int(config.max_repeats * available[language])) for language, tokens in found.items()}


def _amount(corpus: EncodedCorpus, split: str, language: str, unit: str) -> float:
    """Bytes or characters of all text of a language, at least 1."""
    ids, amounts = corpus.ids(split, language), corpus.vocabulary()[:, _COLUMNS[unit]]
    counts = np.zeros(len(amounts), np.int64)
    for start in range(0, len(ids), _IDS):
        counts += np.bincount(ids[start : start + _IDS], minlength=len(amounts))
    return max(1.0, float(counts @ amounts))
