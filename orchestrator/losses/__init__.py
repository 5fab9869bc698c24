"""Losses: soft losses as plug-ins, a file each, and the one chunked op that combines them with cross-entropy."""

from orchestrator.losses._base import SoftLoss
from orchestrator.losses._chunked import IGNORED, LazyLogits, LossSums, SampledLogits, distillation_loss
from orchestrator.losses._positions import ALL, Positions

__all__ = [
    "ALL", "IGNORED", "LazyLogits", "LossSums", "Positions", "SampledLogits", "SoftLoss", "distillation_loss",
]  # fmt: skip

PLUGIN = SoftLoss
"""What a plug-in of this room is."""
