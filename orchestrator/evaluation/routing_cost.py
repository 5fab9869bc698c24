"""What routing costs: microseconds of a block and of a text, and bytes on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.routers import Router, TextRouter

TIMED, TIMED_ALONE = 200, 50
"""Blocks that are timed in a batch, and those of them that are timed one by one."""
TIMED_CHARACTERS = 100


def routing_cost(
    routers: Mapping[str, Router], blocks: Sequence[NDArray[np.int64]], sizes: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """Measure every router on this machine.

    Args:
        routers: by classifier.
        blocks: test blocks, int64 [context] each.
        sizes: bytes on disk, by classifier.

    Returns:
        Classifier -> "microseconds" of a block in a batch, "alone" of one by itself, and "bytes"; of a router that
        reads text also the first two of a text of TIMED_CHARACTERS characters, as "text".
    """
    found: dict[str, dict[str, Any]] = {}
    for name, router in routers.items():
        found[name] = _microseconds(router.probabilities, blocks) | {"bytes": float(sizes[name])}
        if isinstance(router, TextRouter):
            texts = [router.tokens.text(block)[:TIMED_CHARACTERS] for block in blocks]
            found[name]["text"] = _microseconds(router.route, texts)
    return found


def _microseconds(ask: Callable[[Any], Any], documents: Sequence[Any]) -> dict[str, float]:
    """Of one document: "microseconds" where all are asked for at once, "alone" where one is."""

    def seconds(batches: Sequence[Sequence[Any]]) -> float:
        begin = time.perf_counter()
        for batch in batches:
            ask(batch)
        return (time.perf_counter() - begin) / sum(map(len, batches))

    ask(documents)  # what is computed once is not counted
    alone = [[document] for document in documents[:TIMED_ALONE]]
    return {"microseconds": 1e6 * seconds([documents]), "alone": 1e6 * seconds(alone)}
