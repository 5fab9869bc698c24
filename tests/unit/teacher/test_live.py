"""The live teacher: frozen, in evaluation mode, of the student's vocabulary."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from orchestrator.errors import ModelError
from orchestrator.heads import Head
from orchestrator.plugins import create
from orchestrator.teacher import TeacherModel


class Bigram(nn.Module):
    """Embedding, dropout, head: enough of a language model."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.dropout, self.head = nn.Embedding(11, 4), nn.Dropout(0.5), nn.Linear(4, 11)


def hidden_states(model: nn.Module, ids: Tensor) -> Tensor:
    return model.dropout(model.embedding(ids))


def head(model: nn.Module) -> Head:
    return Head(model.head.weight, model.head.bias)


def test_no_gradient_no_dropout() -> None:
    model = Bigram().train()
    teacher = create("teacher", "live", {}).open(TeacherModel(lambda: model, hidden_states, head, vocab_size=11))
    ids = torch.arange(6).reshape(2, 3)
    states = teacher.states(ids, torch.zeros(2, 2))
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(t.requires_grad for t in states if isinstance(t, Tensor))
    assert torch.equal(states.hidden, model.embedding(ids))
    assert torch.equal(teacher.states(ids, torch.zeros(2, 2)).hidden, states.hidden)
    assert states.weight.shape == (11, 4)
    assert states.bias is not None


def test_vocabularies_that_differ_are_refused() -> None:
    with pytest.raises(ModelError, match=r"11 tokens and the student 12[\s\S]*tokenizer"):
        create("teacher", "live", {}).open(TeacherModel(Bigram, hidden_states, head, vocab_size=12))
