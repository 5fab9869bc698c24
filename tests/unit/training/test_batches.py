from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.recipe import TrainingConfig
from orchestrator.errors import TrainingError
from orchestrator.losses import IGNORED
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.training.batches import micro_batches, name_rows, plan_batches


def config(batch_tokens: int, micro_batch: int) -> TrainingConfig:
    return TrainingConfig(batch_tokens=batch_tokens, micro_batch=micro_batch)


def test_cuts_a_batch_into_accumulated_micro_batches():
    assert plan_batches(config(16 * 32, 4), context=16, available=100, world_size=2) == 32


def test_a_batch_that_does_not_divide_names_the_nearest_that_do():
    with pytest.raises(TrainingError, match=r"does not divide") as error:
        plan_batches(config(16 * 10, 4), context=16, available=100, world_size=1)
    assert error.value.fix == "set batch_tokens to 128 or 192, or change micro_batch"


def test_a_batch_smaller_than_one_unit_names_the_smallest_that_works():
    with pytest.raises(TrainingError) as error:
        plan_batches(config(16, 4), context=16, available=100, world_size=2)
    assert "set batch_tokens to 128," in error.value.fix


def test_a_batch_smaller_than_a_block_is_refused():
    with pytest.raises(TrainingError, match="smaller than a block of 1024"):
        plan_batches(config(512, 1), context=1024, available=100, world_size=1)


def test_less_data_than_a_batch_is_refused():
    with pytest.raises(TrainingError, match="fewer than a batch") as error:
        plan_batches(config(16 * 64, 4), context=16, available=50, world_size=1)
    assert "at most 768" in error.value.fix


@pytest.mark.parametrize(("available", "workers"), [(4, 1), (7, 2), (1, 1)])
def test_less_data_than_a_micro_batch_is_refused_with_what_does_work(available, workers):
    with pytest.raises(TrainingError, match="fewer than a batch") as error:
        plan_batches(config(16 * 32, 8), context=16, available=available, world_size=workers)
    micro_batch, batch_tokens = map(int, re.findall(r"\d+", error.value.fix))
    blocks = plan_batches(config(batch_tokens, micro_batch), context=16, available=available, world_size=workers)
    assert 0 < blocks <= available


def test_less_data_than_workers_is_refused():
    with pytest.raises(TrainingError, match="fewer than a batch") as error:
        plan_batches(config(16 * 32, 8), context=16, available=1, world_size=4)
    assert error.value.fix == "add text, or train with at most 1 worker(s)"


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 20), size=st.integers(1, 5), world_size=st.integers(1, 3))
def test_workers_share_every_row_once_and_get_equally_many_micro_batches(blocks_folder, rows, size, world_size):
    blocks = TokenBlocks.open(blocks_folder, "train")
    chosen = np.stack([np.arange(rows) % 2, np.arange(rows)], axis=1)
    shares = [list(micro_batches(blocks, chosen, size, rank, world_size)) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    assert all(inputs.shape == (size, blocks.context) for share in shares for inputs, *_ in share)
    seen = [
        tuple(label)
        for share in shares
        for _, labels, *_ in share
        for label in labels.tolist()
        if label != [IGNORED] * blocks.context
    ]
    assert sorted(seen) == sorted(tuple(block[1:]) for block in blocks.gather(chosen).tolist())


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.integers(0, 1), min_size=0, max_size=20), size=st.integers(1, 4), world_size=st.integers(1, 3))
def test_by_language_all_workers_meet_the_same_languages_at_the_same_time(blocks_folder, rows, size, world_size):
    blocks = TokenBlocks.open(blocks_folder, "train")
    chosen = np.array([[language, place] for place, language in enumerate(rows)], np.int64).reshape(-1, 2)
    shares = [
        list(micro_batches(blocks, chosen, size, rank, world_size, by_language=True)) for rank in range(world_size)
    ]
    languages = [[batch.rows[:, 0].tolist() for batch in share] for share in shares]
    assert all(share == languages[0] for share in languages)
    met = [language for batch in languages[0] for language in batch]
    assert met == sorted(met)
    learned = [
        tuple(row)
        for share in shares
        for batch in share
        for row, label in zip(batch.rows.tolist(), batch.labels, strict=True)
        if label[0] != IGNORED
    ]
    assert sorted(learned) == sorted(map(tuple, chosen.tolist()))


def test_labels_are_the_inputs_shifted(blocks_folder):
    blocks = TokenBlocks.open(blocks_folder, "train")
    [batch] = micro_batches(blocks, np.array([[1, 3]]), 1, 0, 1)
    assert batch.inputs[0, 1:].tolist() == batch.labels[0, :-1].tolist()
    assert batch.rows.tolist() == [[1, 3]]


def test_rows_are_named_by_language_and_block(blocks_folder):
    blocks = TokenBlocks.open(blocks_folder, "train")
    assert name_rows(blocks, np.array([[0, 7], [1, 2]])) == "en:7 fr:2"
    assert name_rows(blocks, np.array([[0, 7], [1, 2]]), limit=1) == "en:7 … (2 blocks)"
