"""The order of batches: a pure function of the step that shows every block and shares it out fairly."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ArtifactError, TrainingError
from orchestrator.tokens.batches import BatchOrder

SAMPLINGS = ("mixed", "balanced", "by_language")
block_counts = st.dictionaries(st.sampled_from(["en", "fr", "de", "py"]), st.integers(1, 12), min_size=1)


class FakeBlocks:
    """As much of TokenBlocks as an order needs."""

    folder, split, context = Path("blocks"), "train", 16

    def __init__(self, counts: dict[str, int]) -> None:
        self.counts, self.languages = counts, tuple(counts)

    def count(self, language: str) -> int:
        if language not in self.counts:
            raise ArtifactError("no such language")
        return self.counts[language]


def order(
    counts: dict[str, int], batch: int, sampling: str, seed: int = 0, languages: tuple[str, ...] = ()
) -> BatchOrder:
    return BatchOrder(FakeBlocks(counts), languages or tuple(counts), batch, seed, sampling)  # type: ignore[arg-type]


def blocks_of(counts: dict[str, int]) -> list[tuple[int, int]]:
    return [(index, block) for index, count in enumerate(counts.values()) for block in range(count)]


@given(block_counts, st.integers(1, 9), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_mixed_shows_every_block_once_an_epoch(counts: dict[str, int], batch: int, seed: int) -> None:
    total = sum(counts.values())
    plan = order(counts, batch, "mixed", seed)
    epochs = 3
    rows = np.concatenate([plan.rows(step) for step in range(plan.steps_for(epochs=epochs))])
    for epoch in range(epochs):
        seen = rows[epoch * total : (epoch + 1) * total]
        assert sorted(map(tuple, seen.tolist())) == blocks_of(counts)


@given(block_counts, st.integers(1, 9), st.integers(0, 40), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_balanced_counts(counts: dict[str, int], batch: int, step: int, seed: int) -> None:
    plan = order(counts, batch, "balanced", seed)
    seen = np.bincount(plan.rows(step)[:, 0], minlength=len(counts))
    assert seen.max() - seen.min() <= 1
    assert batch % len(counts) or seen.max() == seen.min()
    so_far = np.concatenate([plan.rows(each)[:, 0] for each in range(step + 1)])
    totals = np.bincount(so_far, minlength=len(counts))
    assert totals.max() - totals.min() <= 1


@given(block_counts, st.integers(1, 9), st.integers(0, 10))
@settings(max_examples=60, deadline=None)
def test_by_language_batches_have_one_language_and_take_turns(counts: dict[str, int], batch: int, cycle: int) -> None:
    plan = order(counts, batch, "by_language")
    steps = range(cycle * len(counts), (cycle + 1) * len(counts))
    languages = [set(plan.rows(step)[:, 0].tolist()) for step in steps]
    assert all(len(each) == 1 for each in languages)
    assert set().union(*languages) == set(range(len(counts)))


@given(block_counts, st.integers(1, 9), st.sampled_from(["balanced", "by_language"]))
@settings(max_examples=40, deadline=None)
def test_each_language_goes_through_its_epochs(counts: dict[str, int], batch: int, sampling: str) -> None:
    plan = order(counts, batch, sampling)
    rows = np.concatenate([plan.rows(step) for step in range(2 * sum(counts.values()))])
    for index, count in enumerate(counts.values()):
        seen = Counter(rows[rows[:, 0] == index, 1].tolist())
        assert set(seen) <= set(range(count))
        assert max(seen.values()) - min(seen[block] for block in range(count)) <= 1


@given(
    block_counts,
    st.integers(1, 12),
    st.sampled_from(SAMPLINGS),
    st.integers(0, 50),
    st.integers(1, 5),
    st.integers(0, 9),
)
@settings(max_examples=80, deadline=None)
def test_pure_and_partitioned_by_ranks(
    counts: dict[str, int], batch: int, sampling: str, step: int, world: int, seed: int
) -> None:
    plan = order(counts, batch, sampling, seed)
    rows = plan.rows(step)
    assert rows.shape == (batch, 2)
    assert rows.dtype == np.int64
    assert set(map(tuple, rows.tolist())) <= set(blocks_of(counts))
    np.testing.assert_array_equal(rows, order(counts, batch, sampling, seed).rows(step))
    shared = [tuple(row) for rank in range(world) for row in rows[rank::world].tolist()]
    assert Counter(shared) == Counter(map(tuple, rows.tolist()))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_seeds_and_epochs_differ(sampling: str) -> None:
    counts = {"en": 64, "fr": 64}
    first = order(counts, 64, sampling).rows(0)
    assert not np.array_equal(first, order(counts, 64, sampling, seed=1).rows(0))
    assert not np.array_equal(first, order(counts, 64, sampling).rows(2))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_subset_keeps_the_indices_of_the_blocks(sampling: str) -> None:
    plan = order({"en": 3, "fr": 5, "de": 2}, 6, sampling, languages=("de", "fr"))
    seen = {tuple(row) for step in range(8) for row in plan.rows(step).tolist()}
    assert seen == {(1, block) for block in range(5)} | {(2, block) for block in range(2)}


def test_steps() -> None:
    plan = order({"en": 10, "fr": 5}, 4, "mixed")
    assert plan.steps_for(epochs=1) == 4
    assert plan.steps_for(epochs=0.5) == 2
    assert plan.steps_for(epochs=0.01) == 1
    assert plan.steps_for(tokens=16 * 4 * 3) == 3
    assert plan.steps_for(tokens=16 * 4 * 3 + 1, epochs=9) == 4


def test_far_steps_cost_no_more_than_near_ones() -> None:
    plan = order({"en": 10, "fr": 5}, 4, "mixed")
    assert plan.rows(10**9).shape == (4, 2)


def test_pickles() -> None:
    plan = order({"en": 10}, 4, "mixed")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(plan)).rows(7), plan.rows(7))


def test_refusals() -> None:
    with pytest.raises(TrainingError, match="no train blocks to train on of fr"):
        order({"en": 10, "fr": 0}, 4, "mixed")
    with pytest.raises(TrainingError, match=r"training\.batch_tokens"):
        order({"en": 10}, 0, "mixed")
    with pytest.raises(ArtifactError):
        order({"en": 10}, 4, "mixed", languages=("xx",))


@given(block_counts, st.integers(1, 9), st.integers(0, 12), st.sampled_from(SAMPLINGS))
@settings(max_examples=60, deadline=None)
def test_what_is_drawn_is_what_the_steps_show(counts: dict[str, int], batch: int, steps: int, sampling: str) -> None:
    plan = order(counts, batch, sampling, seed=3)
    for index, language in enumerate(counts):
        seen = {row for step in range(steps) for of, row in plan.rows(step).tolist() if of == index}
        assert plan.drawn(language, steps).tolist() == sorted(seen)
