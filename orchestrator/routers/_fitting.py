"""Training of all routers of a run: the paper's classifiers, and the router that the recipe names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.routers._router import Router
from orchestrator.routers.paper import Paper
from orchestrator.routers.text.pieces import LanguageTexts


@dataclass(frozen=True)
class Material:
    """What routers are trained on.

    Attributes:
        sequences: of each language, int64 [n, tokens].
        texts: documents of each language, at most so many characters; asked for where a router reads documents.
        token_bytes: the bytes of each token id; likewise.
    """

    sequences: Mapping[str, NDArray[np.int64]]
    texts: Callable[[int], Mapping[str, LanguageTexts]]
    token_bytes: Callable[[], Sequence[bytes]]


def papers(plugin: Any) -> Paper:
    """The paper's classifiers, which every router is compared with."""
    return plugin if isinstance(plugin, Paper) else Paper()


def fit_routers(plugin: Any, material: Material, seed: int, threads: int) -> dict[str, Router]:
    """Train every router of a run.

    Args:
        plugin: the room's plug-in that the recipe names.
        material: what to train on.
        seed: of everything random.
        threads: to train with; changes nothing in the result.

    Returns:
        Routers by classifier, the paper's first; ``routers[plugin.classifier]`` is the one to use.

    Raises:
        CorpusError: a language without text, or the text that ships is not installed.
    """
    sequences = {language: list(rows) for language, rows in material.sequences.items()}
    routers: dict[str, Router] = dict(papers(plugin).train(sequences, seed, threads))
    if plugin.reads == "corpus":
        routers |= plugin.train(material.texts(plugin.characters), material.token_bytes(), seed, threads)
    return routers
