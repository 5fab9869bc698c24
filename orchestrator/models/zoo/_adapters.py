"""Adapters (PEFT): a small folder of changes to a model that lies elsewhere, merged into it when it is loaded."""

from __future__ import annotations

import importlib.util
import json
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
    return str(beside) if not Path(base).expanduser().exists() and (beside / "config.json").is_file() else base


def merge(model: Any, folder: Path) -> Any:
    """The model with an adapter merged into its weights.

    Raises:
        ModelError: the adapter is not of this model.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    try:
        adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=False, local_files_only=True)
        with safe_open(folder / WEIGHTS, "pt") as file:  # peft leaves what is missing as it was drawn, with a warning
            lost = sorted(set(get_peft_model_state_dict(adapted)) - set(file.keys()))
        if lost:
            raise ValueError(f"{len(lost)} of its weights are missing, the first is {lost[0]}")
        return adapted.merge_and_unload(safe_merge=True)
    except (RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
        what = f"the adapter does not fit its model: {str(error).splitlines()[0]}"
        raise ModelError(what, str(folder), "name the model that it was trained on") from None
