"""What a machine multiplies fastest with is measured once, and every way gives the same but for rounding."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from orchestrator import machine, products
from orchestrator.losses import LazyLogits, distillation_loss
from orchestrator.losses.reverse_kl import ReverseKL
from orchestrator.models.quick import quicken
from orchestrator.products import (
    GAINS,
    decide,
    fast_bf16,
    fast_onednn,
    linear,
    onednn_gain,
    product,
    transposed_product,
)

ASKED = {"bf16_gain": fast_bf16, "onednn_gain": fast_onednn}
has_onednn = pytest.mark.skipif(onednn_gain() == 0, reason="this torch has no oneDNN")


@pytest.fixture(autouse=True)
def undecided() -> Iterator[None]:
    """Nothing is decided before a test and after it."""
    decide()
    yield
    decide()


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """Gains that will be measured, in a process that knows nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "_found", {})
    gains = {name: [least + 0.1, least - 0.1] for name, least in GAINS.items()}
    for name, left in gains.items():
        monkeypatch.setattr(products, name, partial(left.pop, 0))
    return gains


@pytest.mark.parametrize("name", ASKED)
def test_measured_once_a_machine(name: str, measured: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch) -> None:
    assert ASKED[name]()
    assert ASKED[name]()
    monkeypatch.setattr(machine, "_found", {})  # another process
    decide()
    assert ASKED[name]()
    assert len(measured[name]) == 1


@pytest.mark.parametrize("nonsense", ["fast", -1.0, float("inf"), True, None, {}])
@pytest.mark.parametrize("name", ASKED)
def test_nonsense_is_measured_anew(name: str, nonsense: object, measured: dict[str, list[float]]) -> None:
    machine.remember(name, nonsense)
    assert ASKED[name]()
    assert len(measured[name]) == 1


@pytest.mark.parametrize("name", ASKED)
def test_little_is_gained_by_what_is_hardly_faster(name: str, measured: dict[str, list[float]]) -> None:
    del measured[name][0]
    assert not ASKED[name]()


def test_what_is_decided_needs_no_measurement(measured: dict[str, list[float]]) -> None:
    decide(bf16=False, onednn=True)
    assert not fast_bf16()
    assert fast_onednn()
    assert {len(left) for left in measured.values()} == {2}


def test_both_ways_are_timed_in_turn() -> None:
    called = []
    assert products._gain(lambda *_: called.append("slow"), lambda *_: called.append("fast")) > 0
    assert called[:4] == ["slow", "fast"] * 2


@has_onednn
@pytest.mark.parametrize("shape", [(64, 128, 300), (2, 32, 128, 300)])
def test_products_are_the_same_but_for_rounding(shape: tuple[int, ...]) -> None:
    decide(onednn=True)
    generator = torch.Generator().manual_seed(0)
    a, b, bias = (torch.randn(size, generator=generator) for size in (shape[:-1], (shape[-1], shape[-2]), shape[-1:]))
    exact = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-4, check_dtype=False)
    assert products.by_onednn(a, b)
    exact(product(a, b, bias), functional.linear(a.double(), b.double(), bias.double()))
    exact(product(a, torch.cat([b, b], 1)[:, : b.shape[1]]), functional.linear(a.double(), b.double()))
    exact(product(a, b.t().contiguous().t()), functional.linear(a.double(), b.double()))
    flat = a.flatten(0, -2)
    for first, second in ((flat, product(flat, b)), (product(flat, b), flat)):
        exact(transposed_product(first, second), first.double().t() @ second.double())


@has_onednn
@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("autocast", [True, False])
def test_linear_layers_have_the_gradients_of_torch(onednn: bool, autocast: bool) -> None:
    decide(onednn=onednn)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(128, 200), Conv1D(96, 200), nn.Linear(96, 128, bias=False))
    x = torch.randn(4, 40, 128, requires_grad=True)
    wanted = [x, *model.parameters()]

    def gradients() -> tuple[torch.Tensor, ...]:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return torch.autograd.grad(model(x).float().square().sum(), wanted)

    before, names = gradients(), [name for name, _ in model.named_parameters()]
    quicken(model, 40, bf16=False)
    quicken(model, 40, bf16=False)  # a second call changes nothing
    assert [name for name, _ in model.named_parameters()] == names
    assert all(isinstance(layer, kind) for layer, kind in zip(model, (nn.Linear, Conv1D, nn.Linear), strict=True))
    for ours, theirs in zip(gradients(), before, strict=True):
        if autocast or not onednn:
            assert torch.equal(ours, theirs)
        else:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


def test_small_products_are_torchs_own() -> None:
    decide(onednn=True)
    a, b = torch.randn(4, 8), torch.randn(16, 8)
    assert not products.by_onednn(a, b)
    assert torch.equal(linear(a, b), functional.linear(a, b))


@has_onednn
@pytest.mark.parametrize("chunk", [None, 40])
@pytest.mark.parametrize("head_type", [torch.float32, torch.bfloat16])
def test_the_loss_is_the_same_by_either_library(chunk: int | None, head_type: torch.dtype) -> None:
    torch.manual_seed(0)
    hidden, targets = torch.randn(96, 64, requires_grad=True), torch.randint(2000, (96,))
    weight = torch.randn(2000, 64).mul_(0.1).to(head_type).requires_grad_()
    teacher = LazyLogits(torch.randn(96, 80), torch.randn(2000, 80) * 0.1)
    found = []
    for onednn in (False, True):
        decide(bf16=False, onednn=onednn)
        sums = distillation_loss(
            LazyLogits(hidden, weight), targets, teacher=teacher, soft=ReverseKL(), alpha=0.5, beta=0.5, chunk=chunk
        )
        found.append((sums.loss, *torch.autograd.grad(sums.loss, (hidden, weight))))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2 if head_type == torch.bfloat16 else 1e-4, atol=1e-5)
