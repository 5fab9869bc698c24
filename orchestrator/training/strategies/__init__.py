"""How training is spread over workers, a strategy a file."""

from orchestrator.training.strategies._base import Strategy

__all__ = ["Strategy"]

PLUGIN = Strategy
"""What a plug-in of this room is."""
