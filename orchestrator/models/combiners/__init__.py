"""How an expert's hidden states and the common expert's become one, a combiner a file."""

from orchestrator.models.combiners._base import Combiner

__all__ = ["Combiner"]

PLUGIN = Combiner
"""What a plug-in of this room is."""
