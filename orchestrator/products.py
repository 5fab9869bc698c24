"""Products of matrices on CPUs, by the library and in the type that this processor multiplies fastest with.

torch multiplies fp32 matrices by MKL, which leaves half of the width of some processors unused: one core of an EPYC of
2024 does 100 GFLOP/s so, and 200 to 240 by oneDNN, which every torch for x86 holds as well and which its compiler calls
by the operation used here. On others MKL is as fast. So both are measured once on a machine.

Shape legend: N rows, D width, V columns of the product.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.machine import recall, remember

GAINS = {"bf16_gain": 1.1, "onednn_gain": 1.2}
"""By what is measured: how many times as fast it has to be. bf16 is to be worth its rounding."""
LEAST = 1 << 21
"""Multiplications below which a call of oneDNN costs more than it gains."""
_ROUNDS = 5
_TOKENS, _WIDTH, _VOCAB = 256, 192, 2048
_decided: dict[str, bool] = {}


def fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 matrices faster than fp32 ones: as decided, or as measured on it once.

    Processors with the same flags differ: with avx512_bf16 and without AMX one core of an EPYC does 450 GFLOP/s in
    bf16, one of a Xeon 77 and 145 in fp32.
    """
    return _is_fast("bf16_gain", bf16_gain)


def fast_onednn() -> bool:
    """Whether this CPU multiplies fp32 matrices faster by oneDNN than by MKL: as decided, or as measured on it once."""
    return _is_fast("onednn_gain", onednn_gain)


def decide(bf16: bool | None = None, onednn: bool | None = None) -> None:
    """Say what :func:`fast_bf16` and :func:`fast_onednn` answer in this process; None: find out.

    Workers of one training agree.
    """
    for name, fast in (("bf16_gain", bf16), ("onednn_gain", onednn)):
        _decided.pop(name, None)
        if fast is not None:
            _decided[name] = fast


def by_onednn(a: Tensor, b: Tensor) -> bool:
    """Whether oneDNN multiplies two matrices: in fp32 on a CPU that is faster so, and none too small."""
    large = a.numel() * b.shape[0] >= LEAST
    return large and a.dtype == b.dtype == torch.float32 and a.device.type == "cpu" and fast_onednn()


def product(a_ND: Tensor, b_VD: Tensor, bias_V: Tensor | None = None) -> Tensor:
    """A · bᵀ + bias, [N, V]; `a_ND` may have more dimensions in front. Not differentiable: see :func:`linear`.

    oneDNN copies an `a_ND` that does not lie row by row, and a `b_VD` that is a part of a wider matrix.
    """
    if not by_onednn(a_ND, b_VD):
        return functional.linear(a_ND, b_VD, bias_V)
    return _onednn(a_ND, b_VD, bias_V)


def linear(x: Tensor, weight_VD: Tensor, bias_V: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, [..., D] to [..., V], differentiable once, by :func:`product`."""
    if torch.is_autocast_enabled(x.device.type) or not by_onednn(x, weight_VD):
        return functional.linear(x, weight_VD, bias_V)
    found: Tensor = _Linear.apply(x, weight_VD, bias_V)  # type: ignore[no-untyped-call]
    return found


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_VD: Tensor, bias_V: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight_VD)
        return _onednn(x, weight_VD, bias_V)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_VD = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        grad_NV = grad.reshape(-1, grad.shape[-1])
        return (
            product(grad, weight_VD.t()) if needs_x else None,
            transposed_product(grad_NV, x.reshape(-1, x.shape[-1])) if needs_weight else None,
            grad_NV.sum(0) if needs_bias else None,
        )


def transposed_product(a_NV: Tensor, b_ND: Tensor) -> Tensor:
    """aᵀ · b, [V, D]: the outer products of rows, summed. The smaller of both is copied to lie by columns."""
    if a_NV.shape[1] <= b_ND.shape[1]:
        return product(a_NV.t(), b_ND.t())
    return product(b_ND.t(), a_NV.t()).t()


def bf16_gain() -> float:
    """Time in fp32, by the faster library, over time in bf16; takes some 50 ms."""
    return _gain(partial(_products, torch.float32, fast_onednn()), partial(_products, torch.bfloat16, False))


def onednn_gain() -> float:
    """Time by MKL over time by oneDNN, in fp32; takes some 50 ms. 0 where this torch has no oneDNN."""
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (available and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return 0.0
    return _gain(partial(_products, torch.float32, False), partial(_products, torch.float32, True))


def _is_fast(name: str, measure: Callable[[], float]) -> bool:
    if name in _decided:
        return _decided[name]
    gain = recall(name)
    if not isinstance(gain, float) or not 0 <= gain < float("inf"):
        gain = measure()
        remember(name, gain)
    return _decided.setdefault(name, gain >= GAINS[name])


def _gain(slow: Callable[..., None], fast: Callable[..., None]) -> float:
    """Time of one over time of the other, in turn, by this thread's CPU time: what else the machine does hardly counts.

    Time is that of the three products of a loss, casts included: logits, the gradient in the hidden states, and that in
    the head.
    """
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        matrices = torch.ones(_TOKENS, _WIDTH), torch.ones(_VOCAB, _WIDTH), torch.zeros(_VOCAB, _WIDTH)
        times = [[_seconds(partial(way, *matrices)) for way in (slow, fast)] for _ in range(_ROUNDS)]
    theirs, ours = (min(column) for column in zip(*times, strict=True))
    return float(theirs / ours)


def _products(kind: torch.dtype, onednn: bool, hidden_ND: Tensor, weight_VD: Tensor, gradient_VD: Tensor) -> None:
    times = _onednn if onednn else functional.linear
    low_ND, head_VD = hidden_ND.to(kind), weight_VD.to(kind)
    logits_NV = times(low_ND, head_VD)
    times(logits_NV, head_VD.t()).to(gradient_VD.dtype)
    gradient_VD += times(logits_NV.t(), low_ND.t())


def _onednn(a: Tensor, b_VD: Tensor, bias_V: Tensor | None = None) -> Tensor:
    if not (b_VD.is_contiguous() or b_VD.t().is_contiguous()):
        b_VD = b_VD.contiguous()  # a part of a wider matrix would take oneDNN fifty times as long
    found: Tensor = torch.ops.mkldnn._linear_pointwise(a, b_VD, bias_V, "none", [], "")
    return found


def _seconds(work: Callable[[], None]) -> float:
    started = time.thread_time()
    work()
    return max(time.thread_time() - started, 1e-9)
