"""Formats of files that the source `files` reads, a file each."""

from orchestrator.corpus.reading.contract import Format

__all__ = ["Format"]

PLUGIN = Format
"""What a plug-in of this room is."""
