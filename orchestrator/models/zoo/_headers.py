"""What the headers of a model's files say of its weights before any is read: which lack, or have other shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from orchestrator.errors import ModelError
from orchestrator.models.zoo._weights import weight_files

_WHERE = "models.zoo.pretrained"
_INTEGERS = ("I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64")
_WEIGHTS = (".weight", ".bias")


def check_headers(model: Any, folder: Path, name: str) -> None:
    """Make sure that a folder's files hold the weights of a model.

    A name that the model does not have may be an older one, which transformers renames. So weights count as missing
    only where those of unknown names have fewer numbers.

    Args:
        model: of the folder's configuration, on the meta device.
        folder: with safetensors.
        name: as the recipe has it.

    Raises:
        ModelError: a weight is missing, of another shape, or no floating-point number.
    """
    kept = _kept(weight_files(folder, name))
    for tensor, (kind, _) in kept.items():
        if kind in _INTEGERS and tensor.endswith(_WEIGHTS):
            raise quantised(f"{tensor} of {name} holds integers ({kind})", folder)
    wanted = {tensor: tuple(value.shape) for tensor, value in model.state_dict().items()}
    found = {_named(tensor, wanted, model.base_model_prefix): shape for tensor, (_, shape) in kept.items()}
    other = sorted(each for each in found if each in wanted and prod(found[each]) != prod(wanted[each]))
    if other:
        shapes = f"{list(found[other[0]])}, where its configuration makes it {list(wanted[other[0]])}"
        raise _not_whole(
            f"{name} is not whole: {len(other)} mismatched weights, the first is {other[0]}: {shapes}", folder
        )
    missing = sorted(set(wanted) - set(found) - _tied(model, wanted))
    unknown = sum(prod(shape) for each, shape in found.items() if each not in wanted)
    if unknown < sum(prod(wanted[each]) for each in missing):
        raise _not_whole(f"{name} is not whole: {len(missing)} missing weights, the first is {missing[0]}", folder)


def quantised(what: str, folder: Path | None) -> ModelError:
    """The error for weights that are no floating-point numbers.

    Args:
        what: which are meant. folder: of the model; None: it is on the hub.
    """
    fix = "take the model before it was quantised, or a GGUF file of it"
    return ModelError(f"{what}: quantised weights are read from GGUF files alone", str(folder or _WHERE), fix)


def _not_whole(what: str, folder: Path) -> ModelError:
    fix = "copy or download it again; of a model without its head, save it with AutoModelForCausalLM"
    return ModelError(what, str(folder), fix)


def _kept(files: Sequence[Path]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each tensor in the files, by name; all can be opened."""
    from safetensors import safe_open

    found = {}
    for path in files:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (no dictionary)
                part = file.get_slice(name)
                found[name] = (str(part.get_dtype()), tuple(part.get_shape()))
    return found


def _named(name: str, wanted: Mapping[str, Any], prefix: str) -> str:
    """A tensor's name in the model, where the file has it with or without the model's prefix."""
    names = (name, f"{prefix}.{name}", name.removeprefix(f"{prefix}."))
    return next((each for each in names if each in wanted), name)


def _tied(model: Any, wanted: Mapping[str, Any]) -> set[str]:
    """Weights that are another one's, which a file may leave out."""
    pairs: dict[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
    return {each for pair in pairs.items() for each in pair if each in wanted}
