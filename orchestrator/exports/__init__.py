"""Experts out: a finished run's models in the formats of other tools, a format a file."""

from orchestrator.exports._base import ExpertExport, Export
from orchestrator.exports._hub import Hub
from orchestrator.exports._source import Expert, Source

__all__ = ["Expert", "ExpertExport", "Export", "Hub", "Source"]

PLUGIN = Export
"""What a plug-in of this room is."""
