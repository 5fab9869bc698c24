"""Sources of text, a file each."""

from orchestrator.corpus.document import Source

__all__ = ["Source"]

PLUGIN = Source
"""What a plug-in of this room is."""
