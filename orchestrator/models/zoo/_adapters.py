"""Adapters (PEFT): a small folder of changes to a model that lies elsewhere, merged into it when it is loaded."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from orchestrator.errors import ModelError, ResourceError
from orchestrator.models.zoo._gguf import INSTALL

ADAPTER = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def adapter_base(folder: Path) -> str:
    """The model that an adapter is of: a folder, or a name on the hub.

    Raises:
        ModelError: it does not say, or its weights are missing, damaged or a pickle.
        ResourceError: peft is not installed.
    """
    from safetensors import SafetensorError, safe_open

    try:
        about = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
        base = str(about["base_model_name_or_path"] or "")
    except (OSError, ValueError, KeyError, TypeError):
        base = ""
    if not base:
        what = "the adapter does not say which model it is of"
        raise ModelError(what, str(folder / ADAPTER), "give base_model_name_or_path the model's folder or hub name")
    if importlib.util.find_spec("peft") is None:
        what = f"this adapter of {base} needs peft to be merged, which is not installed"
        raise ResourceError(what, str(folder), INSTALL)
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            names = set(file.keys())
    except (OSError, SafetensorError) as error:
        none = isinstance(error, FileNotFoundError)
        what = f"the adapter has no {WEIGHTS}" if none else f"the adapter's weights are damaged: {error}"
        raise ModelError(what, str(folder / WEIGHTS), "copy the adapter again; pickles (.bin) are not loaded") from None
    if lost := sorted({name.replace(".lora_A.", ".lora_B.") for name in names} - names):
        what = f"the adapter lacks {len(lost)} of its weights, the first is {lost[0]}"
        raise ModelError(what, str(folder / WEIGHTS), "copy the adapter again")
    beside = folder / base
    if not Path(base).expanduser().exists() and (beside / "config.json").is_file():
        return str(beside)
    _check_base(base, folder)
    return base


def _check_base(base: str, folder: Path) -> None:
    """Make sure that an adapter's model is one, where it should lie here.

    Raises:
        ModelError: it is not there, or is an adapter itself: this one, or one that leads back to it.
    """
    path, where = Path(base).expanduser(), str(folder / ADAPTER)
    if base.startswith(("/", ".", "~")) and not path.exists():
        fix = "give base_model_name_or_path the folder in which the model lies now"
        raise ModelError(f"the model of this adapter is not there: {base}", where, fix)
    own = [file for file in path.glob("*.safetensors") if not file.name.startswith("adapter_")]
    if (path / ADAPTER).is_file() and not own:
        fix = "merge that one first (merge_and_unload of peft), and name the merged model as base_model_name_or_path"
        raise ModelError(f"the model of this adapter is itself an adapter: {base}", where, fix)


def adapted_shapes(model: Any, folder: Path) -> Any:
    """A model on the meta device, after its adapter was laid over it and taken off: it fits.

    Raises:
        ModelError: the adapter is not of this model.
    """
    return _adapted(model, folder, lambda adapted: adapted.unload(), low_cpu_mem_usage=True, torch_device="cpu")


def merge(model: Any, folder: Path) -> Any:
    """The model with an adapter merged into its weights.

    Raises:
        ModelError: the adapter is not of this model.
    """
    return _adapted(model, folder, lambda adapted: adapted.merge_and_unload(safe_merge=True))


def _adapted(model: Any, folder: Path, end: Callable[[Any], Any], **options: Any) -> Any:
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is missing is told below
            adapted = PeftModel.from_pretrained(
                model, str(folder), is_trainable=False, local_files_only=True, **options
            )
        with safe_open(folder / WEIGHTS, "pt") as file:  # peft leaves what is missing as it was drawn, with a warning
            lost = sorted(set(get_peft_model_state_dict(adapted)) - set(file.keys()))
        if lost:
            raise ValueError(f"{len(lost)} of its weights are missing, the first is {lost[0]}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return end(adapted)
    except (RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
        kind = f"peft {metadata.version('peft')} knows no kind of adapter {error}"
        reason = kind if isinstance(error, KeyError) else (str(error).splitlines() or [type(error).__name__])[0]
        what = f"the adapter does not fit its model: {reason}"
        raise ModelError(what, str(folder), "name the model that it was trained on") from None
