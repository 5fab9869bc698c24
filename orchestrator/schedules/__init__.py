"""Schedules of the loss weights, a file each."""

from orchestrator.schedules._base import LossHistory, Schedule

__all__ = ["LossHistory", "Schedule"]
