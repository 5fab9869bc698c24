"""Forward passes over slots: a file a family of models, one for whatever else transformers has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from orchestrator.errors import ServingError
from orchestrator.models import load_model
from orchestrator.models.mixture_files import ABOUT, load_mixture
from serve.engine.forward.combined import Combined
from serve.engine.forward.decoder import Decoder, Forward
from serve.engine.forward.generic import Generic
from serve.engine.forward.gpt2 import GPT2
from serve.engine.forward.llama import Llama
from serve.engine.forward.mixed import Mixed
from serve.engine.forward.phi import Phi
from serve.engine.forward.reading import read_gpt2
from serve.engine.weights import Pack, pack_for

if TYPE_CHECKING:
    from orchestrator.models.mixture import Branch

FAMILIES: tuple[type[Decoder], ...] = (GPT2, Llama, Phi)

__all__ = [
    "FAMILIES",
    "Combined",
    "Decoder",
    "Forward",
    "Generic",
    "Mixed",
    "branch_forward",
    "forward_of",
    "open_expert",
]


def open_expert(folder: Path, device: str = "cpu", common: bool = True, precision: str = "fp32") -> Forward:
    """An expert: with the common expert of the mixture whose `experts/<language>` the folder is, if it has one.

    Args:
        folder: of the expert.
        device: to load it on.
        common: False: the expert alone.
        precision: of the products, see :data:`serve.engine.options.PRECISIONS`.

    Raises:
        ArtifactError: a file is missing or damaged. ServingError: a weight is not finite.
    """
    mixture, pack = folder.parent.parent, pack_for(precision, device)
    if not common or not (mixture / ABOUT).is_file():
        model = read_gpt2(folder, device) or load_model(folder, device)
        _check_finite(folder, model)
        return forward_of(model, pack)
    branch = load_mixture(mixture, device, [folder.name]).branch(folder.name)
    _check_finite(folder, branch.expert, branch.common, branch.combiner)
    return branch_forward(branch, pack)


def forward_of(model: Any, pack: Pack | None = None) -> Forward:
    """The forward pass of a model of transformers; `pack` None: fp32.

    Raises:
        ModelError: of another family than ours, and its logits are not its head applied to its last hidden states.
    """
    pack = pack or pack_for("fp32", model.device)
    family = next((family for family in FAMILIES if family.fits(model.config)), Generic)
    return family(model.eval(), pack)


def branch_forward(branch: Branch, pack: Pack | None = None) -> Forward:
    """The forward pass of what serves a language of a mixture."""
    expert = forward_of(branch.expert, pack)
    if branch.common is None:
        return expert
    return Combined(expert, forward_of(branch.common, pack), branch.combiner)


def _check_finite(folder: Path, *models: Any) -> None:
    for weight in (weight for model in models if model is not None for weight in model.parameters()):
        # Its extremes take one pass and no copy, and are NaN where one is in it.
        if weight.is_floating_point() and weight.numel() and not all(map(torch.isfinite, weight.detach().aminmax())):
            what = "the expert's weights are not all finite numbers, so it can't answer"
            raise ServingError(what, str(folder), "train it again (--force), or serve another one")
