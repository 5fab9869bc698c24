"""Filters of a language's documents, a file each: what they drop is counted by rule, and sampled."""

from orchestrator.corpus.judging import Filter

__all__ = ["Filter"]

PLUGIN = Filter
"""What a plug-in of this room is."""
