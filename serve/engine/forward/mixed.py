"""Several experts as one model: the next token's distribution is the weighted mean of theirs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from serve.engine.cache import Caches
from serve.engine.forward.decoder import Forward
from serve.engine.forward.step import Step
from serve.errors import RequestError


class Mixed:
    """See :class:`Forward`. Every expert computes every token, so a token costs what it costs all of them.

    Args:
        experts: by name; of one vocabulary.
        vocabulary: ids that their tokenizer knows; what lies beyond has no part in an expert's distribution.
    """

    def __init__(self, experts: Mapping[str, Forward], vocabulary: int) -> None:
        self.experts, self._vocabulary = dict(experts), vocabulary
        self.context = min(expert.context for expert in experts.values())
        self.device = next(iter(experts.values())).device
        self.reads_as_it_decodes = all(expert.reads_as_it_decodes for expert in self.experts.values())
        self._widths: list[int] = []

    def shares(self, weights: Mapping[str, float] | None) -> tuple[float, ...]:
        """Of each expert, in their order.

        Raises:
            RequestError: there are no weights, or none of an expert.
        """
        found = [max(0.0, (weights or {}).get(name, 0.0)) for name in self.experts]
        if not 0 < (whole := sum(found)) < float("inf"):
            raise RequestError("no expert has a part in this answer", "model", "ask for auto")
        return tuple(each / whole for each in found)

    def cache(self, slots: int) -> Caches:
        """See :class:`Forward`."""
        return Caches([expert.cache(slots) for expert in self.experts.values()])

    def hidden(self, step: Step, cache: Caches) -> Tensor:
        """The experts' states and their shares side by side."""
        parts = [expert.hidden(step, own) for expert, own in zip(self.experts.values(), cache.parts, strict=True)]
        self._widths = [part.shape[1] for part in parts]
        return torch.cat([*parts, step.shares.view(len(parts[0]), len(parts))], dim=1)

    def logits(self, hidden_RD: Tensor) -> Tensor:
        """Logarithms of the mean, so that temperature and penalties act on what the mixture says."""
        *states, shares_RE = torch.split(hidden_RD, [*self._widths, len(self.experts)], dim=1)
        told = [
            expert.logits(states_RD.contiguous())[:, : self._vocabulary].float().log_softmax(dim=-1)
            for expert, states_RD in zip(self.experts.values(), states, strict=True)
        ]
        return torch.stack(told).add_(shares_RE.T[..., None].log()).logsumexp(dim=0)
