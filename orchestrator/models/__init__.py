"""Models: the zoo by name, building, taking apart into hidden states and head, files."""

from orchestrator.models.build import build_model, hidden_states, take_model
from orchestrator.models.counting import counts, parameter_count
from orchestrator.models.files import (
    hidden_width,
    load_head,
    load_mapped,
    load_model,
    load_streamed,
    save_model,
    weights_digest,
)
from orchestrator.models.heads import find_head, head
from orchestrator.models.initialise import check_beginning, initialise_from_teacher
from orchestrator.models.merge import average_weights, branch_train_mix
from orchestrator.models.moe import auxiliary_loss
from orchestrator.models.rows import keep_rows
from orchestrator.models.sizes import Size, mixture_size, model_size, outer_size

__all__ = [
    "Size",
    "auxiliary_loss",
    "average_weights",
    "branch_train_mix",
    "build_model",
    "check_beginning",
    "counts",
    "find_head",
    "head",
    "hidden_states",
    "hidden_width",
    "initialise_from_teacher",
    "keep_rows",
    "load_head",
    "load_mapped",
    "load_model",
    "load_streamed",
    "mixture_size",
    "model_size",
    "outer_size",
    "parameter_count",
    "save_model",
    "take_model",
    "weights_digest",
]
