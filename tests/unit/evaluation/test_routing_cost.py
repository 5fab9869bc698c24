from __future__ import annotations

from typing import Any

import numpy as np

from orchestrator.evaluation.routing import block_metrics
from orchestrator.evaluation.routing_cost import routing_cost
from orchestrator.routers import Router


class First(Router):
    """A router that reads one token: its language's number."""

    reads = "tokens"
    languages = ("en", "fr")

    def __init__(self) -> None:
        self.asked: list[int] = []

    def probabilities(self, sequences: Any) -> np.ndarray:
        self.asked.append(len(sequences))
        return np.eye(2)[[int(sequence[0]) for sequence in sequences]]

    def parts(self) -> Any:
        raise NotImplementedError

    @classmethod
    def rebuild(cls, tensors: Any, metadata: Any) -> Any:
        raise NotImplementedError


def test_blocks_are_measured_whole_and_cut() -> None:
    blocks = {"en": np.zeros((4, 32), int), "fr": np.ones((3, 32), int)}
    blocks["fr"][0, 0] = 0
    found = block_metrics({"first": First()}, blocks)
    assert found["languages"] == ["en", "fr"]
    assert found["classifiers"]["first"]["confusion"] == [[4, 0], [1, 2]]
    assert found["table3_router"]["first"]["accuracy"] == 6 / 7
    assert set(found["classifiers"]["first"]["lengths"]) == {"16"}, "64 tokens are more than a block"


def test_time_is_told_of_a_batch_and_of_one_alone() -> None:
    router = First()
    found = routing_cost({"first": router}, [np.zeros(8, int)] * 60, {"first": 123})
    assert set(found["first"]) == {"microseconds", "alone", "bytes"}, "text is for routers that read it"
    assert found["first"]["bytes"] == 123.0
    assert router.asked == [60, 60] + [1] * 50
