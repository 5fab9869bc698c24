"""Laws of teachers whose students have some of their tokens.

The distribution over these and one rest is the teacher's own, added up, and every soft loss is its definition on it.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from orchestrator.heads import Head
from orchestrator.losses import IGNORED, LazyLogits, SoftLoss, distillation_loss
from orchestrator.plugins import available, create
from orchestrator.teacher import KeptTokens, TeacherStates

ROOM, OPTIONS = "losses", {}
NAMES = available(ROOM)
V, D, STUDENT, N = 29, 5, 4, 12
KEPT = torch.tensor([0, 1, 3, 4, 9, 10, 17, 22, 28])
HEADS = {
    "plain": {},
    "biased": {"bias": True},
    "scaled and capped": {"bias": True, "scale": 0.3, "cap": 2.0},
}


def kept_tokens(ids: Tensor = KEPT) -> KeptTokens:
    return KeptTokens(ids, V, lambda rows: rows)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 7 * len(shape)), dtype=torch.float64)


def head_of(kind: str = "plain") -> Head:
    options = dict(HEADS[kind])
    return Head(2 * draw(V, D), draw(V) if options.pop("bias", False) else None, **options)


def teacher(head: Head, kept: KeptTokens) -> LazyLogits:
    hidden = draw(N, D, seed=1)
    return LazyLogits(hidden, *kept.head(head), rest=kept.rest(head, hidden))


def added_up(head: Head) -> Tensor:
    """The definition: a softmax over all tokens, what is kept of it, and one less their sum; log, [N, K+1]."""
    p = head.logits(draw(N, D, seed=1)).softmax(-1)
    others = [token for token in range(V) if token not in KEPT.tolist()]
    return torch.cat([p[:, KEPT], p[:, others].sum(-1, keepdim=True)], -1).log()


def student(rows: int) -> list[Tensor]:
    return [draw(N, STUDENT, seed=2).requires_grad_(), draw(rows, STUDENT, seed=3).requires_grad_()]


def make(name: str, temperature: float = 1.0) -> SoftLoss:
    loss: SoftLoss = create(ROOM, name, {**OPTIONS.get(name, {}), "temperature": temperature})
    return loss


@pytest.mark.parametrize("kind", HEADS)
def test_the_distribution_is_the_teachers_added_up(kind: str) -> None:
    head = head_of(kind)
    found = teacher(head, kept_tokens())
    logits = found.head.logits(found.hidden)
    assert found.rest is not None
    logits[:, -1] = found.rest
    torch.testing.assert_close(logits.log_softmax(-1), added_up(head), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("kind", HEADS)
def test_value_and_gradients_are_those_of_the_definition(name: str, kind: str, temperature: float) -> None:
    """With a temperature the distribution over kept tokens and rest is softened, as any teacher's is."""
    head, leaves, soft = head_of(kind), student(len(KEPT) + 1), make(name, temperature)
    targets = torch.arange(N) % (len(KEPT) + 1)
    targets[3] = IGNORED
    sums = distillation_loss(
        LazyLogits(*leaves), targets, teacher=teacher(head, kept_tokens()), soft=soft, alpha=0.3, beta=0.7, chunk=5
    )
    ours = torch.autograd.grad(sums.loss, leaves)
    valid = targets != IGNORED
    logits = (leaves[0] @ leaves[1].t())[valid]
    ce = torch.nn.functional.cross_entropy(logits, targets[valid], reduction="sum")
    loss = 0.3 * ce + 0.7 * soft.per_token(logits, added_up(head)[valid]).sum()
    torch.testing.assert_close(sums.loss, loss, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(sums.ce, ce, rtol=1e-9, atol=1e-9)
    for mine, exact in zip(ours, torch.autograd.grad(loss, leaves), strict=True):
        torch.testing.assert_close(mine, exact, rtol=1e-8, atol=1e-9)


def test_a_vocabulary_of_which_all_is_kept_is_the_whole_one(name: str) -> None:
    head, everything, results = head_of("biased"), kept_tokens(torch.arange(V)), []
    whole = LazyLogits(draw(N, D, seed=1), *head)
    assert everything.rest(head, whole.hidden) is None
    for each in (whole, teacher(head, everything)):
        leaves = student(V)
        sums = distillation_loss(LazyLogits(*leaves), torch.arange(N), teacher=each, soft=make(name), beta=0.7)
        results.append([sums.loss.detach(), *torch.autograd.grad(sums.loss, leaves)])
    assert all(torch.equal(mine, exact) for mine, exact in zip(*results, strict=True))


def test_a_rest_of_next_to_nothing_is_as_exact_as_any(name: str) -> None:
    """One less the kept tokens' sum would be 0, or noise."""
    others = [token for token in range(V) if token not in KEPT.tolist()]
    head = head_of("biased")
    assert head.bias is not None
    head.bias[others] -= 80
    leaves = student(len(KEPT) + 1)
    for dtype in (torch.float32, torch.float64):
        low = Head(head.weight.to(dtype), head.bias.to(dtype))
        hidden = draw(N, D, seed=1).to(dtype)
        taught = LazyLogits(hidden, *kept_tokens().head(low), rest=kept_tokens().rest(low, hidden))
        cast = LazyLogits(*(leaf.to(dtype) for leaf in leaves))
        sums = distillation_loss(cast, torch.arange(N) % len(KEPT), teacher=taught, soft=make(name))
        exact = make(name).per_token(leaves[0] @ leaves[1].t(), added_up(head)).sum()
        torch.testing.assert_close(sums.soft.double(), exact.detach(), rtol=1e-4, atol=1e-4)


def test_samples_are_of_kept_tokens_and_of_the_rest() -> None:
    head = head_of("biased")
    found = teacher(Head(head.weight.float(), head.bias.float() if head.bias is not None else None), kept_tokens())
    assert found.rest is not None
    states = TeacherStates(found.hidden.float()[None], *found.head, rest=found.rest[None])
    source = create("teacher", "sampled_cache", {"samples": 4000})
    kept = source.record(states, [5])
    shares = torch.stack([torch.bincount(row.long(), minlength=len(KEPT) + 1) for row in kept["ids"][0]]) / 4000
    exact = added_up(head).exp()
    assert (shares - exact).abs().max() < 0.04
    torch.testing.assert_close(kept["entropy"][0].double(), -(exact * exact.log()).sum(-1), rtol=2e-3, atol=2e-3)
