"""Architectures of models, and presets: architectures of given sizes."""

from orchestrator.models.zoo._base import Architecture

__all__ = ["Architecture"]

PLUGIN = Architecture
"""What a plug-in of this room is."""
