"""Our kernel of attention beside torch's, and alone beside itself in a batch."""

from __future__ import annotations

import pytest
import torch

from serve.engine.cache import SlotCache
from serve.engine.forward.attention import attend
from serve.engine.forward.heads import Heads
from serve.engine.forward.step import Piece, Step
from serve.engine.native import SWITCH, library

ROWS = 5
CPU = torch.device("cpu")


def filled(heads: Heads) -> SlotCache:
    cache = SlotCache(1, ROWS, 96, heads.keys, heads.width, CPU)
    cache.reserve(96)
    cache.memory.copy_(torch.randn(cache.memory.shape, generator=torch.Generator().manual_seed(1)))
    return cache


def step(ends: list[int]) -> Step:
    return Step([Piece(slot, end - 1, [7], False, True) for slot, end in enumerate(ends)], [], CPU)


@pytest.mark.parametrize(
    "heads", [Heads(4, 4, 16), Heads(6, 2, 64), Heads(4, 1, 20, window=9), Heads(2, 2, 8, window=200)]
)
@torch.inference_mode()
@pytest.mark.parametrize("kind", ["1", "avx2"])
def test_it_reads_what_torch_reads_and_a_row_the_same_bits_alone(
    heads: Heads, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, kind)
    library.cache_clear()
    if library("attention") is None:
        pytest.skip("this machine builds no kernel")
    cache, ends = filled(heads), [1, 96, 17, 40, 9]
    wide = torch.randn(ROWS, 3 * heads.queries * heads.width)  # as projections lie: queries are a part of each row
    query = wide[:, : heads.queries * heads.width]
    found = attend(query, cache.layers[0], step(ends), heads)
    alone = attend(query[:2], cache.layers[0], step(ends[:2]), heads)
    assert torch.equal(found[:2], alone)
    monkeypatch.setenv(SWITCH, "0")
    library.cache_clear()
    try:
        torch.testing.assert_close(found, attend(query, cache.layers[0], step(ends), heads), rtol=2e-5, atol=2e-6)
    finally:
        library.cache_clear()
