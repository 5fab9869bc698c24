"""What is refused of weights that people bring: adapters beside them, pickles, and numbers that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from orchestrator.errors import ModelError
from orchestrator.models.mapped import Pages
from orchestrator.models.zoo._adapters import ADAPTER

_ONE, _INDEX, _AGAIN = "model.safetensors", "model.safetensors.index.json", "copy or download it again"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def check_folder(folder: Path, name: str) -> None:
    """Make sure that a folder's weights are all of the model, and in files that can't run code.

    Args:
        folder: of a model.
        name: as the recipe has it.

    Raises:
        ModelError: they are not.
    """
    whole = has_weights(folder)
    if whole and (folder / ADAPTER).is_file():
        raise _adapter(folder / ADAPTER, name)
    names = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    pickles = [name for name in names if name != "training_args.bin"]  # of the Trainer: no weights
    if pickles and not whole:
        raise ModelError(
            f"the weights of {name} are pickles ({pickles[0]}), which can run code and are not loaded",
            str(folder),
            "if you trust them, write them as safetensors: AutoModelForCausalLM.from_pretrained(…).save_pretrained(…) "
            "of transformers does, into a new folder; its tokenizer goes beside them",
        )
    if (folder / "config.json").is_file():
        _check_whole(folder, name)


def has_weights(folder: Path) -> bool:
    """Whether there are weights of a model itself, not of an adapter alone."""
    return any(not path.name.startswith("adapter_") for path in folder.glob("*.safetensors"))


def _check_whole(folder: Path, name: str) -> None:
    from safetensors import SafetensorError, safe_open

    for file in weight_files(folder, name):
        try:
            with safe_open(file, "pt"):
                pass
        except (OSError, SafetensorError) as error:
            what = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged: {error}"
            raise ModelError(f"a file of the weights of {name} {what}", str(file), _AGAIN) from None


def weight_files(folder: Path, name: str) -> list[Path]:
    """The files that transformers reads a model's weights from: one, or those that an index lists.

    Raises:
        ModelError: there are none of the names that it knows, or the index can't be read.
    """
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        return [folder / file for file in sorted(set(map(str, index["weight_map"].values())))]
    except FileNotFoundError:
        if (one := folder / _ONE).is_file():
            return [one]
        others = sorted(path.name for path in folder.glob("*.safetensors"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"the list of the files of {name} can't be read", str(folder / _INDEX), _AGAIN) from None
    if others:
        what = f"{name} has neither {_ONE} nor {_INDEX}, but {others[0]}, which transformers does not look for"
        raise ModelError(what, str(folder), f"rename a file that holds all weights to {_ONE}, or copy the index too")
    raise ModelError(f"{name} has no weights (*.safetensors)", str(folder), _AGAIN)


def check_adapter_file(path: Path | None, name: str) -> None:
    """The same of a model on the hub.

    Args:
        path: of its adapter's configuration, fetched; None: it has none.
        name: of the model.

    Raises:
        ModelError: it has an adapter.
    """
    if path is not None:
        raise _adapter(path, name)


def check_finite(model: Any, name: str) -> None:
    """Make sure that every weight is a number.

    Raises:
        ModelError: one is NaN or infinite; the first such tensor is named.
    """
    pages = Pages()
    for tensor_name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise ModelError(
                f"{bad:,} of the {tensor.numel():,} numbers in {tensor_name} of {name} are NaN or infinite",
                "models.zoo.pretrained",
                "take the weights of an earlier step of its training, or download them again",
            )
        pages.let_go([tensor])


def _adapter(path: Path, name: str) -> ModelError:
    what = f"{name} holds an adapter beside its weights, which would be left out"
    merge = "move it into a folder of its own and name that: it is merged into the model that it names"
    return ModelError(what, str(path), f"{merge}; to have the weights without it, remove {ADAPTER}")
