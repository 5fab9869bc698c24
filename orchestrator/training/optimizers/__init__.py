"""Optimizers, a file each."""

from orchestrator.training.optimizers._base import OptimizerPlugin

__all__ = ["OptimizerPlugin"]

PLUGIN = OptimizerPlugin
"""What a plug-in of this room is."""
