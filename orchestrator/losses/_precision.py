"""In which type to multiply, and in which to sum."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from orchestrator.machine import recall, remember

GAIN = 1.1
"""How many times as fast as in fp32 a CPU has to multiply in bf16 for it to be worth the rounding."""
_NAME = "bf16_gain"
_ROUNDS = 5
_TOKENS, _WIDTH, _VOCAB = 256, 192, 2048
_decided: bool | None = None


def exact_type(tensor: Tensor) -> torch.dtype:
    """Type of softmaxes, losses and sums of gradients: fp32, or fp64 for fp64 inputs."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def product_type(hidden: Tensor) -> torch.dtype:
    """Type of the matrix products: autocast's where it is on, else that of the hidden states.

    On a CPU that is no faster in bf16 it is fp32 even for bf16 hidden states and heads, which is exact.
    """
    device = hidden.device.type
    if device == "cpu" and not fast_bf16():
        return exact_type(hidden)
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype


def fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 matrices faster than fp32 ones: as decided, or as measured on it once.

    Processors with the same flags differ: with avx512_bf16 and without AMX one core of an EPYC does 450 GFLOP/s in bf16
    and 100 in fp32, one of a Xeon 77 and 145.
    """
    if _decided is not None:
        return _decided
    gain = recall(_NAME)
    if not isinstance(gain, float) or not 0 < gain < float("inf"):
        gain = bf16_gain()
        remember(_NAME, gain)
    decide_bf16(gain >= GAIN)
    return gain >= GAIN


def decide_bf16(fast: bool | None) -> None:
    """Say what :func:`fast_bf16` answers in this process: workers of one training agree. None: find out."""
    global _decided
    _decided = fast


def bf16_gain() -> float:
    """Time in fp32 over time in bf16 of the three products of a loss, casts included; takes some 50 ms.

    Both are timed in turn, by the CPU time of this thread: what else the machine does hardly counts.
    """
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        hidden, weight = torch.ones(_TOKENS, _WIDTH), torch.ones(_VOCAB, _WIDTH)
        gradient = torch.zeros(_VOCAB, _WIDTH)
        ways = [partial(_products, hidden, weight, gradient, kind) for kind in (torch.float32, torch.bfloat16)]
        times = [[_seconds(way) for way in ways] for _ in range(_ROUNDS)]
    fp32, bf16 = (min(column) for column in zip(*times, strict=True))
    return float(fp32 / bf16)


def _products(hidden: Tensor, weight: Tensor, gradient: Tensor, kind: torch.dtype) -> None:
    """Logits, the gradient in the hidden states, and that in the head."""
    low, head = hidden.to(kind), weight.to(kind)
    logits = low @ head.t()
    (logits @ head).to(gradient.dtype)
    gradient += logits.t() @ low


def _seconds(work: Callable[[], None]) -> float:
    started = time.thread_time()
    work()
    return max(time.thread_time() - started, 1e-9)
