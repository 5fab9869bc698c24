"""Models: the zoo by name, building, taking apart into hidden states and head, files."""

from orchestrator.models.build import build_model, check_head, head, hidden_states, parameter_count
from orchestrator.models.files import hidden_width, load_model, save_model, weights_digest
from orchestrator.models.initialise import initialise_from_teacher

__all__ = [
    "build_model",
    "check_head",
    "head",
    "hidden_states",
    "hidden_width",
    "initialise_from_teacher",
    "load_model",
    "parameter_count",
    "save_model",
    "weights_digest",
]
