"""Laws of teachers with other tokens than their students: both are compared by classes of next texts.

Rows sum to 1 on both sides, equal vocabularies give the plain loss, names of tokens mean nothing, and every soft loss
is its definition on the classes.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from orchestrator.classes import Barred, Classes, Met, Ways
from orchestrator.errors import ModelError
from orchestrator.losses import IGNORED, LazyLogits, SoftLoss, distillation_loss
from orchestrator.losses._classes import ClassSums
from orchestrator.plugins import available, create

ROOM, OPTIONS = "losses", dict[str, dict[str, Any]]()
NAMES = available(ROOM)
V, W, D, N = 7, 11, 4, 9
CLASSES = Classes(torch.tensor([0, 1, 1, 2, 3, 3, 4]), torch.tensor([4, 0, 0, 1, 2, 2, 2, 3, 0, 1, 4]), 5)
KNOWN = torch.tensor([True, True, False, True, True, True, False, True, True])
NONE = torch.full((N,), -1)
TARGETS = torch.tensor([0, 3, 2, IGNORED, 6, 5, 1, 4, 2])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 7 * len(shape)), dtype=torch.float64)


def make(name: str, temperature: float = 1.0) -> SoftLoss:
    loss: SoftLoss = create(ROOM, name, {**OPTIONS.get(name, {}), "temperature": temperature})
    return loss


def student() -> list[Tensor]:
    return [draw(N, D, seed=2).requires_grad_(), draw(V, D, seed=3).requires_grad_()]


def teacher(
    classes: Classes | None = CLASSES, known: Tensor | None = KNOWN, weight: Tensor | None = None
) -> LazyLogits:
    weight = 2 * draw(W, D, seed=4) if weight is None else weight
    met = None if known is None else Met(known, NONE, NONE, NONE)
    return LazyLogits(draw(N, D, seed=1), weight, classes=classes, met=met)


def added_up(logits: Tensor, classes: Tensor) -> Tensor:
    """The definition: a softmax over all tokens, added up; log, [N, K]."""
    p = logits.softmax(-1)
    return torch.stack([p[:, classes == each].sum(-1) for each in range(CLASSES.size)], -1).log()


def defined(soft: SoftLoss, hidden: Tensor, weight: Tensor) -> Tensor:
    known = KNOWN & (TARGETS != IGNORED)
    theirs = added_up(teacher().hidden @ teacher().weight.t(), CLASSES.teacher)
    return soft.per_token(added_up(hidden @ weight.t(), CLASSES.student), theirs)[known].sum()


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("chunk", [2, 64])
def test_it_is_the_definition_on_classes_and_so_is_its_gradient(name: str, temperature: float, chunk: int) -> None:
    soft, ours, plain = make(name, temperature), student(), student()
    sums = distillation_loss(LazyLogits(*ours), TARGETS, teacher=teacher(), soft=soft, alpha=0.0, beta=1.0, chunk=chunk)
    sums.loss.backward()
    expected = defined(soft, *plain)
    expected.backward()
    torch.testing.assert_close(sums.soft, expected.detach(), rtol=1e-9, atol=1e-9)
    for mine, theirs in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-8, atol=1e-9)
    with torch.no_grad():
        value = distillation_loss(LazyLogits(*ours), TARGETS, teacher=teacher(), soft=soft, alpha=0.0, beta=1.0).soft
    torch.testing.assert_close(value, sums.soft, rtol=1e-9, atol=1e-9)


def test_gradients_are_those_of_small_differences(name: str) -> None:
    def loss(hidden: Tensor) -> Tensor:
        logits = LazyLogits(hidden, weight)
        return distillation_loss(logits, TARGETS, teacher=teacher(), soft=make(name), alpha=0.3, beta=0.7).loss

    hidden, weight = student()
    weight = weight.detach()
    loss(hidden).backward()
    assert hidden.grad is not None
    for place in ((0, 0), (4, 2), (7, 3)):
        step = torch.zeros_like(hidden).index_put(tuple(map(torch.tensor, place)), torch.tensor(1e-6).double())
        with torch.no_grad():
            slope = (loss(hidden + step) - loss(hidden - step)) / 2e-6
        torch.testing.assert_close(hidden.grad[place], slope, rtol=1e-5, atol=1e-8)


def test_equal_vocabularies_give_the_plain_loss(name: str) -> None:
    weight, found = 2 * draw(V, D, seed=4), []
    same = Classes(torch.arange(V), torch.arange(V), V)
    for classes, known in ((None, None), (same, torch.ones(N, dtype=torch.bool))):
        mine = student()
        sums = distillation_loss(
            LazyLogits(*mine), TARGETS, teacher=teacher(classes, known, weight), soft=make(name), alpha=0.4, beta=0.6
        )
        sums.loss.backward()
        found.append([sums.loss.detach(), sums.soft, *(tensor.grad for tensor in mine)])
    for plain, classed in zip(*found, strict=True):
        torch.testing.assert_close(classed, plain, rtol=1e-12, atol=1e-12)


def test_the_names_of_tokens_mean_nothing(name: str) -> None:
    order, soft = torch.randperm(W, generator=torch.Generator().manual_seed(1)), make(name)
    shuffled = CLASSES._replace(teacher=CLASSES.teacher[order])
    found = [
        distillation_loss(LazyLogits(*student()), TARGETS, teacher=each, soft=soft, alpha=0.0, beta=1.0).soft.detach()
        for each in (teacher(), teacher(shuffled, weight=teacher().weight[order]))
    ]
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)
    other = teacher(CLASSES, weight=teacher().weight[order])  # another distribution costs something
    assert (
        distillation_loss(LazyLogits(*student()), TARGETS, teacher=other, soft=soft, beta=1.0).soft - found[0]
    ).abs() > 1e-3


def test_a_merge_that_changes_no_text_changes_nothing(name: str) -> None:
    """Two tokens of a class may be one whose probability is their sum."""
    logits = teacher().hidden @ teacher().weight.t()
    merged = torch.cat([logits[:, 1:3].logsumexp(1, keepdim=True), logits[:, [0, *range(3, W)]]], 1)
    classes = CLASSES._replace(teacher=CLASSES.teacher[[1, 0, *range(3, W)]])
    whole = LazyLogits(logits, torch.eye(W, dtype=torch.float64), classes=CLASSES, met=Met(KNOWN, NONE, NONE, NONE))
    fewer = LazyLogits(merged, torch.eye(W - 1, dtype=torch.float64), classes=classes, met=Met(KNOWN, NONE, NONE, NONE))
    soft = make(name)
    found = [
        distillation_loss(LazyLogits(*student()), TARGETS, teacher=each, soft=soft, beta=1.0).soft.detach()
        for each in (whole, fewer)
    ]
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_rows_sum_to_one() -> None:
    for classes, size in ((CLASSES.student, V), (CLASSES.teacher, W)):
        logits = 30 * draw(N, size, seed=5)  # many tokens have no probability left
        rows = ClassSums(classes, CLASSES.size)(logits.log_softmax(-1))
        torch.testing.assert_close(rows.exp().sum(-1), torch.ones(N, dtype=torch.float64), rtol=1e-12, atol=1e-12)
        assert rows.isfinite().all()


def test_every_known_position_gets_a_gradient_and_no_other() -> None:
    hidden, weight = student()
    distillation_loss(
        LazyLogits(hidden, weight.detach()), TARGETS, teacher=teacher(), soft=make("forward_kl"), alpha=0.0, beta=1.0
    ).loss.backward()
    assert hidden.grad is not None
    assert ((hidden.grad.abs().sum(-1) > 0) == (KNOWN & (TARGETS != IGNORED))).all()


def test_classes_of_other_vocabularies_are_refused() -> None:
    with pytest.raises(ModelError, match="classes are of 7 and 11 tokens"):
        distillation_loss(
            LazyLogits(*student()), TARGETS, teacher=teacher(weight=draw(W + 1, D)), soft=make("jsd"), beta=1.0
        )


# A language of words, each with a space in front: " a", " play", " playing", " player", " playings" are the teacher's
# tokens 0 to 4, and 5 to 7 are "ing", "er" and "s", which no word begins with. The student has " a", " play", "ing",
# "er" and "s". What follows a word depends on it alone, so the truth about the student's next token is a few sums.
WORDS = {0: [0], 1: [1], 2: [1, 2], 3: [1, 3], 4: [1, 2, 4]}
SPOKEN = [0, 4, 1, 0, 2, 3, 1, 4, 2, 0, 1, 1, 2]
LANGUAGE = Classes(
    torch.tensor([0, 1, 2, 3, 4]),
    torch.tensor([0, 1, 1, 1, 1, 2, 3, 4]),
    5,
    Ways(torch.tensor([0, 3, 4]), torch.tensor([2, 3, 4, 4]), torch.tensor([2, 3, 2, 4]), torch.tensor([1, 2])),
)
NODES = {(1,): 0, (1, 2): 1}


def spoken() -> tuple[Tensor, Met, Tensor]:
    """At each of the student's tokens of a text: the teacher's logits, what it has read, and the truth."""
    table = draw(5, 8, seed=6).index_fill(1, torch.tensor([5, 6, 7]), -1e4).log_softmax(-1)  # by the word before
    rows: list[tuple[int, bool, int, int]] = [(0, True, -1, -1)]
    truth = [_first(table[0].exp())]
    for last, word in itertools.pairwise(SPOKEN):
        before = len(rows) - 1
        for size in range(1, len(WORDS[word]) + 1):
            path = WORDS[word][:size]
            rows.append((word, size == len(WORDS[word]), NODES.get(tuple(path), -1), before))
            q = torch.zeros(5, dtype=torch.float64)
            for other, its in WORDS.items():
                if its[: len(path)] == path:
                    p = table[last, other].exp()
                    q += p * (_first(table[other].exp()) if its == path else torch.eye(5).double()[its[len(path)]])
            truth.append(q / q.sum())
    words, known, nodes, places = (torch.tensor(each) for each in zip(*rows, strict=True))
    return (
        table[words].masked_fill(~known[:, None], 0),
        Met(known, nodes, torch.full_like(nodes, -1), places),
        torch.stack(truth),
    )


def _first(p: Tensor) -> Tensor:
    """Probabilities of the student's next token, from those of the next word."""
    return torch.stack([p[0], p[1:5].sum(), *p.new_zeros(3)])


def test_who_knows_the_truth_loses_nothing_anywhere(name: str) -> None:
    """Where a token is the beginning of another's text, what the teacher says is the exact marginal."""
    theirs, met, truth = spoken()
    logits = truth.clamp(min=1e-300).log().requires_grad_()
    student, eye = LazyLogits(logits, torch.eye(5).double()), torch.eye(8).double()
    soft, targets = make(name), torch.zeros(len(logits), dtype=torch.int64)
    teacher = LazyLogits(theirs, eye, classes=LANGUAGE, met=met)
    sums = distillation_loss(student, targets, teacher=teacher, soft=soft, alpha=0.0, beta=1.0, chunk=5)
    sums.loss.backward()
    assert logits.grad is not None
    if soft.zero_at_equality:
        torch.testing.assert_close(sums.soft, torch.zeros(()).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), atol=1e-7, rtol=0)
    naive = teacher._replace(met=met._replace(nodes=torch.full_like(met.nodes, -1)))
    biased = distillation_loss(student, targets, teacher=naive, soft=soft, alpha=0.0, beta=1.0)
    assert (biased.soft - sums.soft).abs() > 0.1  # the teacher alone knows that a word has ended


# Now the student has " playing", and the teacher writes " play" and "ing" for it. Both have " a", " play" and "er".
BARRING = Classes(
    torch.tensor([0, 1, 1, 2, 3]),  # " a", " play", " playing", "er", "ing"
    torch.tensor([0, 1, 3, 2]),  # " a", " play", "ing", "er"
    4,
    barred=Barred(torch.tensor([0, 1]), torch.tensor([2])),
)


def test_a_student_that_has_the_longer_token_knows_what_cant_follow(name: str) -> None:
    table = draw(4, 4, seed=8)
    table[[0, 2, 3], 2] = table[[0, 2, 3], 3] = -1e4  # "ing" and "er" follow " play" alone
    p, text = table.softmax(-1), [0, 1, 3, 1, 0, 1, 2, 1, 1, 2, 0, 0]
    going_on = p[1, 2]
    rows, truth, place = [], [], 0
    while place < len(text):
        longer = text[place : place + 2] == [1, 2]
        place += 2 if longer else 1
        last, barring = text[place - 1], text[place - 1] == 1
        a, play, ing, er = p[last]
        q = torch.stack([a, play * (1 - going_on), play * going_on, er, ing * (not barring)])
        rows.append((last, 0 if barring else -1))
        truth.append(q / q.sum())
    words, barred = (torch.tensor(each) for each in zip(*rows, strict=True))
    count, logits = len(rows), torch.stack(truth).clamp(min=1e-300).log().requires_grad_()
    met = Met(torch.ones(count).bool(), torch.full((count,), -1), barred, torch.arange(count) - 1)
    teacher = LazyLogits(table[words], torch.eye(4).double(), classes=BARRING, met=met)
    student, targets = LazyLogits(logits, torch.eye(5).double()), torch.zeros(count, dtype=torch.int64)
    sums = distillation_loss(student, targets, teacher=teacher, soft=make(name), alpha=0.0, beta=1.0, chunk=3)
    sums.loss.backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), atol=1e-7, rtol=0)
    if make(name).zero_at_equality:
        torch.testing.assert_close(sums.soft, torch.zeros(()).double(), atol=1e-9, rtol=0)


def test_every_token_of_a_longer_one_gets_a_gradient() -> None:
    theirs, met, truth = spoken()
    logits = torch.zeros_like(truth).requires_grad_()
    teacher = LazyLogits(theirs, torch.eye(8).double(), classes=LANGUAGE, met=met)
    student, targets = LazyLogits(logits, torch.eye(5).double()), torch.zeros(len(logits), dtype=torch.int64)
    whole = distillation_loss(student, targets, teacher=teacher, soft=make("forward_kl"), alpha=0.0, beta=1.0)
    whole.loss.backward()
    assert logits.grad is not None
    assert (logits.grad.abs().sum(-1) > 0).all()
    torch.testing.assert_close(logits.grad.sum(-1), torch.zeros(len(logits)).double(), atol=1e-12, rtol=0)
    for chunk in (1, 3):
        part = distillation_loss(student, targets, teacher=teacher, soft=make("forward_kl"), beta=1.0, chunk=chunk)
        torch.testing.assert_close(part.soft, whole.soft)


def test_inside_of_a_token_whose_beginning_is_none_the_longer_ones_are_all_there_is(name: str) -> None:
    """The teacher has " playing" and " player", and not " play": behind " play" it says "ing" or "er", and no more."""
    ways = Ways(torch.tensor([0, 2]), torch.tensor([2, 3]), torch.tensor([2, 3]), torch.tensor([-1]))
    classes = LANGUAGE._replace(ways=ways)
    met = Met(torch.tensor([True, False]), torch.tensor([-1, 0]), torch.tensor([-1, -1]), torch.tensor([-1, 0]))
    logits, theirs = draw(2, 5, seed=9).requires_grad_(), draw(2, 8, seed=9)
    teacher = LazyLogits(theirs, torch.eye(8).double(), classes=classes, met=met)
    student, targets = LazyLogits(logits, torch.eye(5).double()), torch.tensor([-100, 2])
    soft = make(name)
    sums = distillation_loss(student, targets, teacher=teacher, soft=soft, alpha=0.0, beta=1.0)
    sums.loss.backward()
    plain = logits.detach()[1:, [2, 3]].requires_grad_()
    expected = soft.per_token(plain, theirs[:1, [2, 3]]).sum()
    expected.backward()
    assert logits.grad is not None
    assert plain.grad is not None
    torch.testing.assert_close(sums.soft, expected.detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(logits.grad[1:, [2, 3]], plain.grad, rtol=1e-7, atol=1e-9)
    assert (logits.grad[:, [0, 1, 4]] == 0).all()
