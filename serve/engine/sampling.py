"""A token a row from its logits. What a row gets depends on the row alone, whatever rows are beside it.

Without filters a token is found by the inverse of the cumulative distribution in the order of the vocabulary, block by
block; with top-k, top-p or min-p among the most probable tokens, most probable first. The whole vocabulary is sorted
only where a row's filters leave more than `CANDIDATES` tokens.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from serve.engine.native import library
from serve.messages import Sampling

CANDIDATES = 256
"""Tokens among which filters are tried first."""
_BLOCK = 256
_MANY = 8192
_COLDEST = 1e-4  # below this a temperature is as good as greedy, and dividing by it would overflow


class Chooser(Protocol):
    """A row, as far as choosing goes."""

    @property
    def sampling(self) -> Sampling:
        """How its tokens are chosen."""

    def uniform(self) -> float:
        """The row's number in [0, 1) for its next token."""

    def adjust(self, logits_V: Tensor) -> None:
        """Change the row's logits in place: bias, penalties, constraint."""


def choose(logits_RV: Tensor, rows: Sequence[Chooser]) -> list[int]:
    """One token for each row; -1 where its largest logit is not finite, or one is not a number.

    Args:
        logits_RV: fp32; not changed.
        rows: what to do with each.
    """
    adjusted = [index for index, row in enumerate(rows) if row.sampling.adjusts]
    if adjusted:
        logits_RV = logits_RV.clone()
        for index in adjusted:
            rows[index].adjust(logits_RV[index])
    plain, filtered, wide = _sampled(rows, logits_RV.shape[-1])
    if logits_RV.device.type == "cpu" and (kernel := library()) is not None:
        chosen = _by_kernel(kernel, logits_RV, rows, plain)
    else:
        chosen = most_probable(logits_RV).tolist()
        _replace(chosen, logits_RV, rows, plain, from_all)
    _replace(chosen, logits_RV, rows, filtered, lambda w, u, r: from_most_probable(w, u, r, CANDIDATES))
    _replace(chosen, logits_RV, rows, wide, lambda w, u, r: from_most_probable(w, u, r, w.shape[-1]))
    return chosen


def most_probable(logits_RV: Tensor) -> Tensor:
    """Each row's largest logit, int64 [R]; -1 where it is not finite, or one is not a number."""
    found_R = _largest(logits_RV)  # which finds what is not a number
    return found_R.masked_fill_(~logits_RV.gather(1, found_R[:, None])[:, 0].isfinite(), -1)


def _largest(logits_RV: Tensor) -> Tensor:
    """By blocks where there are many: `amax` is faster than `argmax` on a CPU."""
    if logits_RV.shape[-1] < _MANY:
        return logits_RV.argmax(dim=-1)
    blocks_RKB = pad(logits_RV, (0, -logits_RV.shape[-1] % _BLOCK), value=float("-inf")).view(
        len(logits_RV), -1, _BLOCK
    )
    block_R = blocks_RKB.amax(dim=-1).argmax(dim=-1)
    inside_RB = blocks_RKB[torch.arange(len(block_R), device=block_R.device), block_R]
    return block_R * _BLOCK + inside_RB.argmax(dim=-1)


def _by_kernel(kernel: Any, logits_RV: Tensor, rows: Sequence[Chooser], plain: Sequence[int]) -> list[int]:
    """Tokens of the rows without filters; of the others the most probable ones. See `native/sampling.h`."""
    count = len(rows)
    tokens, temperatures, uniforms = (kind * count for kind in (ctypes.c_int64, ctypes.c_float, ctypes.c_double))
    cold, numbers, found = temperatures(), uniforms(), tokens()
    for index in plain:
        cold[index], numbers[index] = max(rows[index].sampling.temperature, _COLDEST), rows[index].uniform()
    threads = torch.get_num_threads() if count > 1 else 1
    kernel.choose(logits_RV.data_ptr(), logits_RV.stride(0), *logits_RV.shape, cold, numbers, found, threads)
    return list(found)


Draw = Callable[[Tensor, Tensor, Sequence[Chooser]], Tensor]


def from_all(weights_RV: Tensor, uniform_R: Tensor, rows: Sequence[Chooser] = ()) -> Tensor:  # noqa: ARG001
    """Tokens int64 [R] by the inverse of the cumulative distribution.

    Args:
        weights_RV: not negative, each row with a positive one; they need not sum to 1.
        uniform_R: fp64 in [0, 1).
        rows: not looked at.
    """
    blocks_RKB = pad(weights_RV, (0, -weights_RV.shape[-1] % _BLOCK)).view(len(weights_RV), -1, _BLOCK)
    sums_RK = blocks_RKB.sum(dim=-1).double()
    block_R, rest_R = _inverse(sums_RK, uniform_R * sums_RK.sum(dim=-1))
    inside_RB = blocks_RKB[torch.arange(len(block_R), device=block_R.device), block_R].double()
    place_R, _ = _inverse(inside_RB, rest_R)
    return block_R * _BLOCK + place_R


def from_most_probable(weights_RV: Tensor, uniform_R: Tensor, rows: Sequence[Chooser], candidates: int) -> Tensor:
    """Tokens int64 [R] among those that top-k, then top-p, then min-p leave; -1 where `candidates` are not enough.

    Args:
        weights_RV: probabilities as shares of the most probable token's.
        uniform_R: fp64 in [0, 1).
        rows: with their filters.
        candidates: how many of the most probable tokens to look at.
    """
    count = min(candidates, weights_RV.shape[-1])
    all_there = count == weights_RV.shape[-1]
    share_RC, token_RC = _ranked(weights_RV, count)
    share_RC = share_RC.double()
    settings = [(row.sampling.top_k or weights_RV.shape[-1], row.sampling.top_p, row.sampling.min_p) for row in rows]
    top_k, top_p, min_p = torch.tensor(settings, dtype=torch.float64, device=weights_RV.device).T[..., None]
    within_RC = torch.arange(count, device=weights_RV.device) < top_k
    kept_mass = (share_RC * within_RC).sum(dim=-1, keepdim=True)
    mass = torch.where(top_k > count, weights_RV.sum(dim=-1, keepdim=True).double(), kept_mass)
    before_RC = share_RC.cumsum(dim=-1) - share_RC
    kept_RC = within_RC & (before_RC < top_p * mass) & (share_RC >= min_p)
    kept_RC[:, 0] = True
    found_R, _ = _inverse(share_RC * kept_RC, uniform_R * (share_RC * kept_RC).sum(dim=-1))
    token_R = token_RC.gather(1, found_R[:, None])[:, 0]
    more_R = kept_RC[:, -1] & (top_k[:, 0] > count)
    return token_R if all_there else torch.where(more_R, -1, token_R)


def _sampled(rows: Sequence[Chooser], vocabulary: int) -> tuple[list[int], list[int], list[int]]:
    """Rows that sample: without filters, with filters, with filters that surely leave many."""
    plain, filtered, wide = list[int](), list[int](), list[int]()
    for index, row in enumerate(rows):
        how = row.sampling
        if how.temperature <= 0:
            continue
        if (how.top_k or vocabulary) >= vocabulary and how.top_p >= 1 and how.min_p <= 0:
            plain.append(index)
        else:
            (wide if CANDIDATES < (how.top_k or 0) < vocabulary else filtered).append(index)
    return plain, filtered, wide


def _replace(chosen: list[int], logits_RV: Tensor, rows: Sequence[Chooser], which: list[int], draw: Draw) -> None:
    """Put sampled tokens in the place of the most probable ones, where there are any."""
    which = [index for index in which if chosen[index] >= 0]
    if not which:
        return
    some = [rows[index] for index in which]
    logits_RV = logits_RV if len(which) == len(logits_RV) else logits_RV[which]
    colder = torch.tensor([max(row.sampling.temperature, _COLDEST) for row in some], device=logits_RV.device)
    weights_RV = ((logits_RV - logits_RV.amax(dim=-1, keepdim=True)) / colder[:, None]).exp_()
    uniform_R = torch.tensor([row.uniform() for row in some], dtype=torch.float64, device=logits_RV.device)
    tokens = draw(weights_RV, uniform_R, some).tolist()
    for place, (index, token) in enumerate(zip(which, tokens, strict=True)):
        if token < 0:
            everything = weights_RV[place : place + 1], uniform_R[place : place + 1], some[place : place + 1]
            token = int(from_most_probable(*everything, logits_RV.shape[-1]))
        chosen[index] = token


def _ranked(weights_RV: Tensor, count: int) -> tuple[Tensor, Tensor]:
    if count == weights_RV.shape[-1]:
        return weights_RV.sort(dim=-1, descending=True, stable=True)
    found = weights_RV.topk(count, dim=-1)
    return found.values, found.indices


def _inverse(weights_RC: Tensor, target_R: Tensor) -> tuple[Tensor, Tensor]:
    """Where the running sum passes the target, and how much of the target is left there.

    Rounding can put a target at or after the end: the last place with a weight takes it.
    """
    sums_RC = weights_RC.cumsum(dim=-1)
    places = torch.arange(weights_RC.shape[-1], device=weights_RC.device)
    last_R = (places * (weights_RC > 0)).amax(dim=-1)
    found_R = torch.minimum((sums_RC <= target_R[:, None]).sum(dim=-1), last_R)
    before_R = (sums_RC - weights_RC).gather(1, found_R[:, None])[:, 0]
    return found_R, (target_R - before_R).clamp(min=0)
