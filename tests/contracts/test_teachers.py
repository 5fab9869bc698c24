"""Laws of every source of a teacher. A new one inherits them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.heads import Head
from orchestrator.plugins import available, create
from orchestrator.teacher import (
    ABOUT,
    Cache,
    CachedTeacherSource,
    TeacherModel,
    TeacherSamples,
    TeacherStates,
    shard_name,
    write_shard,
)
from orchestrator.teacher.live import Live

VOCAB, BLOCKS, CONTEXT = 11, 4, 6
IDS = torch.arange(BLOCKS * CONTEXT).reshape(BLOCKS, CONTEXT) % VOCAB
ROWS = torch.tensor([[1, block] for block in (2, 0)])

ROOM, OPTIONS = "teacher", {}
NAMES = available(ROOM)


class Bigram(nn.Module):
    """Embedding, dropout, head: enough of a language model."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.dropout, self.head = nn.Embedding(VOCAB, 4), nn.Dropout(0.5), nn.Linear(4, VOCAB)


def hidden_states(model: Any, ids: Tensor) -> Tensor:
    return model.dropout(model.embedding(ids))


def head(model: Any) -> Head:
    return Head(model.head.weight, model.head.bias)


def scaled_and_capped(model: Any) -> Head:
    return Head(model.head.weight, model.head.bias, 3.0, 2.0)


def opened(name: str, model: nn.Module, folder: Path, head: Callable[[Any], Head] = head) -> Any:
    """The teacher, with a cache of all blocks of language 1 where it needs one."""
    source, teacher = create(ROOM, name, OPTIONS.get(name, {})), TeacherModel(lambda: model, hidden_states, head, VOCAB)
    if not isinstance(source, CachedTeacherSource):
        return source.open(teacher)
    states = Live().open(teacher).states(IDS, ROWS)
    assert isinstance(states, TeacherStates)
    write_shard(folder / shard_name(0), source.record(states, range(BLOCKS)))
    (folder / ABOUT).write_text(f'{{"identity": {{}}, "blocks": {BLOCKS}, "blocks_per_shard": {BLOCKS}}}')
    return source.open(TeacherModel(lambda: model, hidden_states, head, VOCAB, {1: Cache(folder, {})}))


def test_says_the_same_of_a_block_whenever_it_is_asked_and_in_any_order(name: str, tmp_path: Path) -> None:
    teacher = opened(name, Bigram().train(), tmp_path)
    ids = IDS[ROWS[:, 1]]
    first = teacher.states(ids, ROWS)
    again = teacher.states(ids.flip(0), ROWS.flip(0))
    assert torch.equal(first[0], again[0].flip(0))
    assert first[0].shape[:2] == (2, CONTEXT)


def test_no_gradient_reaches_the_teacher_and_it_is_in_evaluation_mode(name: str, tmp_path: Path) -> None:
    model = Bigram().train()
    teacher = opened(name, model, tmp_path)
    states = teacher.states(IDS[ROWS[:, 1]], ROWS)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(tensor.requires_grad for tensor in states if isinstance(tensor, Tensor))


def test_is_near_the_live_teacher(name: str, tmp_path: Path) -> None:
    model = Bigram()
    ids = IDS[ROWS[:, 1]]
    said = opened(name, model, tmp_path).states(ids, ROWS)
    exact = torch.log_softmax(model.eval().head(model.embedding(ids)), -1).detach()
    if isinstance(said, TeacherSamples):
        assert said.ids.dtype == torch.int64
        assert 0 <= int(said.ids.min()) <= int(said.ids.max()) < VOCAB
        torch.testing.assert_close(said.entropy, -(exact.exp() * exact).sum(-1), rtol=1e-3, atol=1e-3)
    else:
        ours = torch.log_softmax(nn.functional.linear(said.hidden.float(), said.weight, said.bias), -1)
        torch.testing.assert_close(ours, exact, rtol=0.01, atol=0.01)


def test_what_follows_the_head_is_part_of_what_it_says(name: str, tmp_path: Path) -> None:
    model = Bigram()
    ids = IDS[ROWS[:, 1]]
    said = opened(name, model, tmp_path, scaled_and_capped).states(ids, ROWS)
    product = nn.functional.linear(model.eval().embedding(ids), model.head.weight)
    exact = torch.log_softmax(2 * torch.tanh((3 * product + model.head.bias) / 2), -1).detach()
    if isinstance(said, TeacherSamples):
        torch.testing.assert_close(said.entropy, -(exact.exp() * exact).sum(-1), rtol=1e-3, atol=1e-3)
    else:
        ours = torch.log_softmax(said.head.logits(said.hidden.float()), -1)
        torch.testing.assert_close(ours, exact, rtol=0.01, atol=0.02)


def test_pickles(name: str) -> None:
    assert pickle.loads(pickle.dumps(create(ROOM, name, OPTIONS.get(name, {})))) == create(
        ROOM, name, OPTIONS.get(name, {})
    )
