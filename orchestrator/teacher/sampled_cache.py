"""Random samples of the teacher's distribution: a few bytes a token, and no teacher in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from orchestrator.heads import capped
from orchestrator.teacher._base import CachedTeacherSource, Teacher, TeacherModel, TeacherSamples, TeacherStates

_SHORT = 1 << 16


@dataclass(frozen=True)
class SampledCache(CachedTeacherSource):
    """Tokens drawn from the teacher, with replacement (random-sampling distillation, arXiv:2503.16870).

    Their relative frequencies are an unbiased estimate of the teacher's probabilities, so losses that are linear in
    these (`forward_kl`, `teacher_cross_entropy`) get unbiased values and gradients; top-k caches are biased. With 12
    samples 26 bytes a token are kept (38 above 65,536 tokens): ids, and the entropy of the whole distribution.
    """

    aligns: ClassVar[bool] = False
    samples: Annotated[int, Field(ge=1)] = 12
    """Number of tokens drawn at each position."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature that the tokens are drawn at: that of the soft loss."""

    def open(self, model: TeacherModel) -> Teacher:
        """See :class:`orchestrator.teacher.TeacherSource`. The teacher itself is not loaded."""
        return _Reader(model)

    def refusal(self, soft: Any, hidden: Any) -> str:
        """Losses that need more than samples."""
        if not soft.linear_in_teacher:
            name = type(soft).__name__
            return (
                f"a sampled cache can't serve {name}: it is not linear in the teacher's probabilities, so its estimate "
                "from samples is biased (and infinite where none fell); use soft: forward_kl, or teacher: hidden_cache"
            )
        if soft.temperature != self.temperature:
            return (
                f"the samples are drawn at temperature {self.temperature:g}, the soft loss has {soft.temperature:g}; "
                "give teacher.temperature and soft.temperature one value"
            )
        return "" if hidden is None else "a sampled cache has no hidden states; use teacher: hidden_cache, or no hidden"

    def record(self, states: TeacherStates, seeds: Sequence[int]) -> dict[str, Tensor]:
        """`ids` int16 [B, T, K] (with `high` uint8 above 65,536 tokens) and `entropy` fp16 [B, T]."""
        rests = [None] * len(states.hidden) if states.rest is None else states.rest
        drawn = [
            self._draw(states._replace(hidden=hidden, rest=rest), seed)
            for hidden, rest, seed in zip(states.hidden, rests, seeds, strict=True)
        ]
        ids_BTK, entropy_BT = (torch.stack(tensors) for tensors in zip(*drawn, strict=True))
        low = (ids_BTK % _SHORT).to(torch.uint16).view(torch.int16)
        high = {"high": (ids_BTK // _SHORT).to(torch.uint8)} if len(states.weight) > _SHORT else {}
        return {"ids": low, **high, "entropy": entropy_BT.to(torch.float16)}

    def bytes_per_token(self, width: int, vocab_size: int) -> int:  # noqa: ARG002
        """2 or 3 bytes a sample, and 2 for the entropy."""
        return self.samples * (2 if vocab_size <= _SHORT else 3) + 2

    def _draw(self, states: TeacherStates, seed: int) -> tuple[Tensor, Tensor]:
        """Samples int64 [T, K] of the positions of one block, whose states these are, and the entropy [T]."""
        product = states.weight.dtype
        logits_TV = (states.hidden.to(product) @ states.weight.t()).float()
        if states.scale != 1:
            logits_TV *= states.scale
        if states.bias is not None:
            logits_TV += states.bias
        logits_TV = capped(logits_TV, states.cap)
        if states.rest is not None:
            logits_TV[:, -1] = states.rest
        log_p_TV = torch.log_softmax(logits_TV / self.temperature, -1)
        p_TV = log_p_TV.exp()
        generator = torch.Generator(p_TV.device).manual_seed(seed)
        ids_TK = torch.multinomial(p_TV, self.samples, replacement=True, generator=generator)
        return ids_TK, -torch.xlogy(p_TV, p_TV).sum(-1)


class _Reader:
    def __init__(self, model: TeacherModel) -> None:
        self._source = model

    def states(self, ids_BT: Tensor, rows_B2: Tensor) -> TeacherSamples:
        kept = self._source.cached(rows_B2, ids_BT.device)
        ids_BTK = kept["ids"].to(torch.int64) & (_SHORT - 1)
        if "high" in kept:
            ids_BTK += kept["high"].to(torch.int64) * _SHORT
        return TeacherSamples(ids_BTK, kept["entropy"].float())
