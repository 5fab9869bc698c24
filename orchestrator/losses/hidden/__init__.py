"""Losses between the last hidden states of student and teacher: plug-ins, a file each."""

from orchestrator.losses.hidden._base import HiddenLoss

__all__ = ["HiddenLoss"]

PLUGIN = HiddenLoss
"""What a plug-in of this room is."""
