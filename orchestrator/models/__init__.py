"""Models: the zoo by name, building, taking apart, files."""

from orchestrator.models.build import build_model, head, hidden_states, parameter_count
from orchestrator.models.files import load_model, save_model, weights_digest

__all__ = ["build_model", "head", "hidden_states", "load_model", "parameter_count", "save_model", "weights_digest"]
