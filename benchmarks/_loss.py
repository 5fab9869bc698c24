"""What `mome bench loss` compares: one loss, computed in several ways.

Usage: python -m benchmarks._loss WAY,WAY,… TYPE,TYPE,… TOKENS VOCAB STUDENT TEACHER THREADS; prints, for each type and
way, the megabytes that forward and backward needed at their peak, beyond what was there before and the gradients that
they returned.
"""

from __future__ import annotations

import gc
import itertools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, linear, log_softmax

from orchestrator.losses import LazyLogits, distillation_loss
from orchestrator.losses.reverse_kl import ReverseKL

ALPHA = BETA = 0.5
Gradients = tuple[Tensor, ...]


@dataclass(frozen=True)
class Sizes:
    """Tokens, vocabulary, and the widths of student and teacher."""

    tokens: int
    vocab: int
    student: int
    teacher: int


@dataclass(frozen=True)
class Problem:
    """Hidden states [N, D] and heads [V, D] of student and teacher, without bias, and targets [N]."""

    hidden: Tensor
    weight: Tensor
    teacher_hidden: Tensor
    teacher_weight: Tensor
    targets: Tensor

    @classmethod
    def draw(cls, sizes: Sizes, dtype: torch.dtype, device: str = "cpu") -> Problem:
        """Random ones, the same numbers for each type up to its rounding; logits of both have a deviation of 2."""
        generator = torch.Generator(device).manual_seed(0)

        def normal(count: int, width: int, scale: float) -> Tensor:
            return scale * torch.randn(count, width, generator=generator, device=device)

        def side(width: int) -> tuple[Tensor, Tensor]:
            return normal(sizes.tokens, width, 1.0).to(dtype), normal(sizes.vocab, width, 2 * width**-0.5).to(dtype)

        hidden, weight = (tensor.requires_grad_() for tensor in side(sizes.student))
        targets = torch.randint(sizes.vocab, (sizes.tokens,), generator=generator, device=device)
        return cls(hidden, weight, *side(sizes.teacher), targets)

    def to(self, dtype: torch.dtype) -> Problem:
        """The same numbers in another type."""
        hidden, weight = (each.detach().to(dtype).requires_grad_() for each in (self.hidden, self.weight))
        return Problem(hidden, weight, self.teacher_hidden.to(dtype), self.teacher_weight.to(dtype), self.targets)


def ours(problem: Problem) -> Gradients:
    """Gradients in hidden states and head by :func:`orchestrator.losses.distillation_loss`."""
    student = LazyLogits(problem.hidden, problem.weight)
    teacher = LazyLogits(problem.teacher_hidden, problem.teacher_weight)
    sums = distillation_loss(student, problem.targets, teacher=teacher, soft=ReverseKL(), alpha=ALPHA, beta=BETA)
    return torch.autograd.grad(sums.loss, (problem.hidden, problem.weight))


def dense(problem: Problem) -> Gradients:
    """As one would write it in torch: all logits at once, softmaxes in fp32 (fp64 for fp64), autograd."""
    exact = torch.promote_types(problem.hidden.dtype, torch.float32)
    student = linear(problem.hidden, problem.weight).to(exact)
    with torch.no_grad():
        log_p = log_softmax(linear(problem.teacher_hidden, problem.teacher_weight).to(exact), -1)
    hard = cross_entropy(student, problem.targets, reduction="sum")
    soft = kl_div(log_p, log_softmax(student, -1), reduction="sum", log_target=True)  # Σ q (log q − log p)
    return torch.autograd.grad(ALPHA * hard + BETA * soft, (problem.hidden, problem.weight))


def liger(problem: Problem) -> Gradients:
    """Liger kernel's chunked, compiled JSD, which is reverse KL at its beta of 1.

    Raises:
        ImportError: `liger_kernel` is not installed.
    """
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    loss = LigerFusedLinearJSDLoss(weight_hard_loss=ALPHA, weight_soft_loss=BETA, beta=1.0)
    mean = loss(problem.hidden, problem.weight, problem.teacher_hidden, problem.teacher_weight, problem.targets)
    return torch.autograd.grad(mean * len(problem.targets), (problem.hidden, problem.weight))


WAYS: dict[str, Callable[[Problem], Gradients]] = {"ours": ours, "dense": dense, "liger": liger}


def peak_on_gpu(way: str, problem: Problem) -> float:
    """Megabytes at the peak of one call, beyond what was there and the returned gradients."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    gradients = WAYS[way](problem)
    return (torch.cuda.max_memory_allocated() - before - _bytes(gradients)) / 1e6


def peak_on_cpu(way: str, problem: Problem) -> float:
    """As :func:`peak_on_gpu`, by the kernel's count of this process's resident memory (Linux)."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now
    before = _resident("VmHWM")
    gradients = WAYS[way](problem)
    return (_resident("VmHWM") - before - _bytes(gradients)) / 1e6


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _bytes(tensors: Gradients) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def main(ways: str, kinds: str, *sizes: Any) -> None:
    """Print the peak of each way in each type: each in a process of its own, all after one start of torch."""
    *numbers, threads = map(int, sizes)
    for kind, way in itertools.product(kinds.split(","), ways.split(",")):
        if (child := os.fork()) == 0:
            torch.set_num_threads(threads)
            dtype: torch.dtype = getattr(torch, kind)
            WAYS[way](Problem.draw(Sizes(16, 64, 8, 8), dtype))  # loads what it needs
            print(peak_on_cpu(way, Problem.draw(Sizes(*numbers), dtype)), flush=True)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(f"the process that computed {way} has failed")


if __name__ == "__main__":
    main(*sys.argv[1:])
