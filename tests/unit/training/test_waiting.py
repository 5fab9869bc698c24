"""A micro-batch on a GPU does not make the host wait.

The device "meta" stands for a GPU: its tensors have shapes and no numbers, so whatever would wait for one fails.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from orchestrator.config.base import PluginSpec
from orchestrator.losses import IGNORED, Positions
from orchestrator.losses.forward_kl import ForwardKL
from orchestrator.losses.hidden.cosine import Cosine
from orchestrator.losses.reverse_kl import ReverseKL
from orchestrator.models import build_model
from orchestrator.models.quick import run_ahead
from orchestrator.schedules.fixed import Fixed
from orchestrator.teacher import TeacherSamples, TeacherStates
from orchestrator.training.batches import Batch
from orchestrator.training.objective import CrossEntropyObjective, DistillationObjective, Objective

VOCAB, BLOCKS, CONTEXT, WIDTH = 50, 4, 16, 16
GPU = torch.device("meta")


class Said:
    """A teacher that has said it already."""

    def __init__(self, said: TeacherStates | TeacherSamples) -> None:
        self._said = said

    def states(self, ids_BT: torch.Tensor, rows_B2: torch.Tensor) -> TeacherStates | TeacherSamples:
        return self._said


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device=GPU)


STATES = Said(TeacherStates(empty(BLOCKS, CONTEXT, WIDTH), empty(VOCAB, WIDTH), None))
SAMPLES = Said(TeacherSamples(empty(BLOCKS, CONTEXT, 3, dtype=torch.int64), empty(BLOCKS, CONTEXT)))
OBJECTIVES: dict[str, Objective] = {
    "cross-entropy": CrossEntropyObjective(),
    "states": DistillationObjective(ReverseKL(), Fixed(), STATES),
    "states at a quarter of the positions, and hidden states": DistillationObjective(
        ForwardKL(), Fixed(), STATES, Cosine(), positions=Positions(0.25)
    ),
    "samples": DistillationObjective(ForwardKL(), Fixed(), SAMPLES),
}


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_loss_of_a_micro_batch_waits_for_the_gpu(monkeypatch: pytest.MonkeyPatch, name: str, ragged: bool) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # "meta" knows no autocast
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: False)
    model = build_model(PluginSpec(type="gpt2", layers=1, width=WIDTH, heads=2), VOCAB, CONTEXT, seed=0).to(GPU)
    run_ahead(model, CONTEXT)
    labels = torch.ones(BLOCKS, CONTEXT, dtype=torch.int64)
    if ragged:
        labels[0, 3:] = IGNORED
    batch = Batch(torch.zeros_like(labels), labels, torch.zeros(BLOCKS, 2, dtype=torch.int64)).to(GPU)
    sums = OBJECTIVES[name].losses(model, batch, 0.5, 0.5)
    sums.loss.backward()
    assert {each.device for each in sums} == {GPU}
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_what_would_wait_fails_here() -> None:
    with pytest.raises((NotImplementedError, RuntimeError)):
        empty(3).nonzero()
    with pytest.raises(RuntimeError):
        int(empty(1))
