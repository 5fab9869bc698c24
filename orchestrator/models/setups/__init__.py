"""How a mixture is made of its parts, a setup a file."""

from orchestrator.models.setups._base import Setup

__all__ = ["Setup"]

PLUGIN = Setup
"""What a plug-in of this room is."""
