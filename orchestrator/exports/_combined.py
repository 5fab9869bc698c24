"""An expert as exports are compared with it: by the forward passes of transformers, not by the engine that serves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from orchestrator.models import head, load_model
from orchestrator.models.mixture import Branch
from orchestrator.models.mixture_files import ABOUT, load_mixture

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def open_expert(folder: Path, device: str = "cpu", common: bool = True) -> PreTrainedModel | CombinedExpert:
    """An expert's model: with the common expert of the mixture whose `experts/<language>` the folder is, if it has one.

    Args:
        folder: of the expert.
        device: to load it on.
        common: False: the expert alone.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    mixture = folder.parent.parent
    if not common or not (mixture / ABOUT).is_file():
        return load_model(folder, device)
    branch = load_mixture(mixture, device, [folder.name]).branch(folder.name)
    return CombinedExpert(branch) if branch.common is not None else branch.expert


@dataclass
class _Caches:
    """Keys and values of both models."""

    expert: Any = None
    common: Any = None


class CombinedExpert:
    """What is called of a causal language model, for an expert beside a common one, each with its cache."""

    def __init__(self, branch: Branch) -> None:
        self._branch = branch
        self.config, self.device = branch.config, branch.device

    def __call__(self, *, past_key_values: _Caches | None, logits_to_keep: int, **inputs: Any) -> SimpleNamespace:
        """Logits [B, kept, V] of the last positions, and the caches."""
        caches, branch = past_key_values or _Caches(), self._branch
        assert branch.common is not None
        assert branch.combiner is not None
        models: tuple[Any, Any] = branch.expert, branch.common
        expert = models[0].base_model(past_key_values=caches.expert, **inputs)
        common = models[1].base_model(past_key_values=caches.common, **inputs)
        kept = [output.last_hidden_state[:, -logits_to_keep:] for output in (expert, common)]
        found = _Caches(expert.past_key_values, common.past_key_values)
        return SimpleNamespace(logits=head(branch).logits(branch.combiner(*kept)), past_key_values=found)
