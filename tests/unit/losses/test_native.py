"""The kernel's law is torch's own path: the same losses and gradients but for rounding, and it where it is off."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from orchestrator.losses import IGNORED, LazyLogits, SampledLogits, SoftLoss, distillation_loss, native
from orchestrator.plugins import available, create

TOKENS, VOCAB, WIDTH = 37, 1003, 24  # a vocabulary that ends within a vector
CLOSE = {torch.float32: 1e-5, torch.bfloat16: 1e-4}
each_type = pytest.mark.parametrize("dtype", CLOSE, ids=str)


@pytest.fixture(autouse=True, params=["1", "avx2"])
def _built_anew(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test with the machine's widest instructions, and without AVX-512."""
    monkeypatch.setenv(native.SWITCH, request.param)
    native.library.cache_clear()
    yield
    native.library.cache_clear()


def both(monkeypatch: pytest.MonkeyPatch, *arguments: object, **options: object) -> list[list[torch.Tensor]]:
    """Losses and gradients by the kernel, and by torch."""
    if native.library() is None:
        pytest.skip("no kernel here")
    found = [run(*arguments, **options)]  # type: ignore[arg-type]
    monkeypatch.setenv(native.SWITCH, "0")
    native.library.cache_clear()
    assert native.library() is None
    return [*found, run(*arguments, **options)]  # type: ignore[arg-type]


def run(soft: SoftLoss | None, dtype: torch.dtype, samples: int = 0, scale: float = 1.0) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(0)

    def draw(count: int) -> torch.Tensor:
        return (scale * torch.randn(count, WIDTH, generator=g)).to(dtype)

    hidden, weight = draw(TOKENS).requires_grad_(), draw(VOCAB).requires_grad_()
    teacher: LazyLogits | SampledLogits = LazyLogits(draw(TOKENS), draw(VOCAB))
    if samples:
        p = torch.softmax((teacher[0] @ teacher[1].t()).float(), -1)
        entropy = -torch.xlogy(p, p).sum(-1)
        teacher = SampledLogits(torch.multinomial(p, samples, replacement=True, generator=g), entropy)
    targets = torch.randint(VOCAB, (TOKENS,), generator=g)
    targets[5:9] = IGNORED
    options = {} if soft is None else {"teacher": teacher, "soft": soft, "beta": 0.7}
    sums = distillation_loss(LazyLogits(hidden, weight), targets, alpha=0.4, chunk=16, matmul=dtype, **options)
    return [sums.loss.detach(), sums.ce, sums.soft, *torch.autograd.grad(sums.loss, (hidden, weight))]


def close(one: list[torch.Tensor], other: list[torch.Tensor], bound: float) -> bool:
    return all(
        float((a - b).float().norm()) <= bound * max(float(b.float().norm()), 1e-3)
        for a, b in zip(one, other, strict=True)
    )


@each_type
@pytest.mark.parametrize("name", [None, *native.NAMES])
@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
def test_the_kernel_computes_what_torch_does(
    name: str | None, dtype: torch.dtype, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft = None if name is None else create("losses", name, {})
    assert close(*both(monkeypatch, soft, dtype, scale=scale), CLOSE[dtype])


@each_type
@pytest.mark.parametrize("name", ["forward_kl", "teacher_cross_entropy"])
def test_the_kernel_computes_from_samples_what_torch_does(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert close(*both(monkeypatch, create("losses", name, {}), dtype, samples=12), CLOSE[dtype])


def test_values_without_gradients_are_the_same() -> None:
    hidden, weight = torch.randn(TOKENS, WIDTH), torch.randn(VOCAB, WIDTH)
    targets = torch.arange(TOKENS)
    with torch.no_grad():
        value = distillation_loss(LazyLogits(hidden, weight), targets).ce
    expected = torch.nn.functional.cross_entropy(hidden @ weight.t(), targets, reduction="sum")
    torch.testing.assert_close(value, expected)


def test_a_hidden_state_that_is_not_a_number_shows() -> None:
    hidden = torch.randn(TOKENS, WIDTH)
    hidden[3] = torch.nan
    student = LazyLogits(hidden, torch.randn(VOCAB, WIDTH))
    assert distillation_loss(student, torch.arange(TOKENS)).loss.isnan()


def test_losses_that_the_kernel_does_not_know_are_torchs() -> None:
    known = {name for name in available("losses") if native.kind_of(create("losses", name, {})) is not None}
    assert known == set(native.NAMES)
