"""Schedules of the loss weights, a file each."""

from orchestrator.schedules._base import LossHistory, Schedule, StepLosses

__all__ = ["LossHistory", "Schedule", "StepLosses"]

PLUGIN = Schedule
"""What a plug-in of this room is."""
