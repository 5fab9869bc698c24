"""Packing equals the obvious loop, whatever the chunks."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.tokens.packing import packed


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=30),
    st.integers(1, 100),
    st.sampled_from([np.uint16, np.uint32]),
    st.randoms(use_true_random=False),
)
@settings(max_examples=100, deadline=None)
def test_packed_equals_a_loop(sizes: list[int], chunk: int, dtype: type, random: object) -> None:
    lengths = np.array(sizes)
    ids = np.arange(3, 3 + lengths.sum()).astype(dtype)
    starts = np.cumsum(lengths) - lengths
    order = np.array(random.sample(range(len(sizes)), len(sizes)))  # type: ignore[attr-defined]
    kept = np.maximum(lengths[order] - 1, 1)
    expected = np.concatenate([[1, *ids[starts[d] : starts[d] + n], 2] for d, n in zip(order, kept, strict=True)])
    chunks = list(packed(ids, starts[order], kept, chunk))
    assert {each.dtype for each in chunks} == {np.dtype(dtype)}
    np.testing.assert_array_equal(np.concatenate(chunks), expected)
    assert all(len(each) <= max(chunk, kept.max() + 2) for each in chunks)


def test_nothing_to_pack() -> None:
    nothing = np.empty(0, dtype=np.int64)
    assert list(packed(np.empty(0, np.uint16), nothing, nothing)) == []
