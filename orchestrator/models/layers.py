"""Which of a model's modules are its layers: those that hidden states pass one after the other."""

from __future__ import annotations

from torch import nn

from orchestrator.errors import ModelError


def layers_name(model: nn.Module) -> str:
    """Dotted name of the list of transformer blocks: the list of modules that holds the most parameters.

    Raises:
        ModelError: the model has no list of modules.
    """
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    if not lists:
        raise ModelError(f"{type(model).__name__} has no list of layers", where="models")
    sizes = {name: sum(p.numel() for p in modules.parameters()) for name, modules in lists.items()}
    name: str = min(sizes, key=lambda name: (-sizes[name], len(name)))
    return name


def layers_of(model: nn.Module) -> nn.ModuleList:
    """The transformer blocks.

    Raises:
        ModelError: the model has no list of modules.
    """
    found = model.get_submodule(layers_name(model))
    assert isinstance(found, nn.ModuleList)
    return found
