"""A feed-forward layer of several experts, of which a router picks some for every token.

Shape legend: N tokens, E experts, K experts of a token, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from orchestrator.models.mixture import Branch


class MoELayer(nn.Module):
    """Mixtral's sparse layer (arXiv:2401.04088, section 2.1): y = Σ softmax(top-k of x·W)ₑ · expertₑ(x).

    Tokens are grouped by expert, so each expert computes on those sent to it and on no other.
    """

    def __init__(self, experts: Sequence[nn.Module], width: int, top: int, balance: float) -> None:
        super().__init__()
        self.router = nn.Linear(width, len(experts), bias=False)
        self.experts = nn.ModuleList(experts)
        self.top, self.balance = top, balance
        self.balance_loss: Tensor | None = None  # weighted, of the last forward pass in training

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., D] to the weighted sum of what K experts make of each, [..., D]."""
        hidden_ND = hidden.flatten(0, -2)
        with torch.autocast(hidden.device.type, enabled=False):  # bf16 rounds away the difference between two experts
            logits_NE: Tensor = self.router(hidden_ND.to(self.router.weight.dtype))
        chosen_logits_NK, chosen_NK = logits_NE.topk(self.top, dim=-1)
        sent_E = torch.bincount(chosen_NK.flatten(), minlength=len(self.experts))
        if self.training and torch.is_grad_enabled():
            self.balance_loss = self.balance * load_balancing_loss(logits_NE, sent_E)
        outputs_NKD = self._apply_experts(hidden_ND, chosen_NK, sent_E)
        weights_NK = chosen_logits_NK.softmax(dim=-1).to(outputs_NKD.dtype)
        return (outputs_NKD * weights_NK.unsqueeze(-1)).sum(1).view_as(hidden)

    def _apply_experts(self, hidden_ND: Tensor, chosen_NK: Tensor, sent_E: Tensor) -> Tensor:
        """What each token's experts make of it, [N, K, D].

        An expert without tokens is called all the same: under ZeRO 3 every worker must gather the same weights in the
        same order, and an empty product costs nothing.
        """
        order = chosen_NK.flatten().argsort(stable=True)  # places (token · K + choice), expert by expert
        groups = torch.split(hidden_ND.index_select(0, order // self.top), sent_E.tolist())
        outputs = torch.cat([expert(group) for expert, group in zip(self.experts, groups, strict=True)])
        return outputs.index_select(0, order.argsort()).view(*chosen_NK.shape, -1)


def load_balancing_loss(logits_NE: Tensor, sent_E: Tensor) -> Tensor:
    """E · Σₑ fₑ · Pₑ (Switch Transformer, arXiv:2101.03961, equations 4 to 6): K, the least, when all are used alike.

    Args:
        logits_NE: of the router; gets the gradient.
        sent_E: how many tokens went to each expert, N · K in all.
    """
    tokens, experts = logits_NE.shape
    probabilities_E = logits_NE.softmax(dim=-1).mean(0)
    return experts * (sent_E / tokens * probabilities_E).sum()


def auxiliary_loss(model: nn.Module | Branch) -> Tensor | None:
    """The weighted load-balancing loss of a model's last forward pass in training, mean over its MoE layers.

    Handed out once, a scalar that carries a gradient; add it to a mean loss a token. None where there is none: a model
    without such layers, or in evaluation. (Mixtral in transformers balances the layers' summed counts instead, so that
    an expert too busy in one layer may be idle in another; here each layer is balanced, as in Switch.)
    """
    layers = [module for module in model.modules() if isinstance(module, MoELayer)]
    losses = [layer.balance_loss for layer in layers if layer.balance_loss is not None]
    for layer in layers:
        layer.balance_loss = None
    return torch.stack(losses).mean() if losses else None
