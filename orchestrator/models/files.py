"""Models as Hugging Face folders: safetensors weights, configuration, tokenizer. No pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from orchestrator.artifacts import check_files, write_json
from orchestrator.errors import ArtifactError, TokenizerError
from orchestrator.heads import Head
from orchestrator.models.build import head_width
from orchestrator.models.heads import head
from orchestrator.models.mapped import Pages, own_type
from orchestrator.models.streamed import streamed
from orchestrator.models.zoo._base import attention, check_complete, quiet
from orchestrator.models.zoo._weights import weight_files
from orchestrator.tokens.special import OURS, special_tokens
from orchestrator.tokens.tokenizer import copy_tokenizer, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def save_model(model: nn.Module, tokenizer_folder: Path, out: Path) -> None:
    """Write a folder that `AutoModelForCausalLM` and `AutoTokenizer` open, with the tokenizer's special tokens.

    Args:
        model: a transformers causal language model, on any device.
        tokenizer_folder: holds the tokenizer's files, which are copied.
        out: folder to write to; made where it isn't there.

    Raises:
        ArtifactError: the tokenizer folder has no tokenizer.json.
    """
    from transformers import GenerationConfig, PreTrainedModel

    assert isinstance(model, PreTrainedModel)
    if not (tokenizer_folder / "tokenizer.json").is_file():
        raise ArtifactError(
            "the tokenizer has no tokenizer.json", where=str(tokenizer_folder), fix="build the tokenizer again"
        )
    out.mkdir(parents=True, exist_ok=True)
    config = model.config
    config.bos_token_id, config.eos_token_id, pad = _special_ids(tokenizer_folder)
    narrow = model.dtype != torch.float32
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=pad
    )
    with quiet():
        model.save_pretrained(out)
    if narrow:  # whoever opens it computes in fp32, without being told to
        config = json.loads((out / "config.json").read_text(encoding="utf-8"))
        write_json(out / "config.json", {**config, "dtype": "float32"})
    copy_tokenizer(tokenizer_folder, out)


def _special_ids(tokenizer_folder: Path) -> tuple[int | None, int | list[int] | None, int | None]:
    """Begin, end and padding ids of a model's configuration, by what its tokenizer says."""
    try:
        special = special_tokens(tokenizer_folder, load_tokenizer(tokenizer_folder))
    except TokenizerError:  # whoever encodes says what is wrong with it
        special = OURS
    first = special.bos if special.bos is not None or not special.begin else special.begin[0]
    ends = special.eos[0] if len(special.eos) == 1 else list(special.eos) or None
    return first, ends, special.eos[0] if special.eos else first


def load_model(folder: Path, device: str | torch.device = "cpu") -> PreTrainedModel:
    """Open a folder written by :func:`save_model`, in evaluation mode.

    Raises:
        ArtifactError: the folder lacks a file, the weights don't fit the configuration, or a file of an artifact has
            changed since it was published.
    """
    return _opened(folder).to(device).eval()


def load_mapped(folder: Path) -> PreTrainedModel:
    """The same model with weights in the type that their files have, which stay there until they are used.

    Raises:
        ArtifactError: see :func:`load_model`.
    """
    return _opened(folder, own=True).requires_grad_(False).eval()


def load_streamed(folder: Path, device: str | torch.device = "cpu") -> PreTrainedModel:
    """The same model with weights that are in memory a layer at a time; see :mod:`orchestrator.models.streamed`.

    Raises:
        ArtifactError: see :func:`load_model`.
    """
    return streamed(load_mapped(folder), device)


def load_head(folder: Path, device: str | torch.device = "cpu") -> Head:
    """The head of the same model in fp32; nothing else is read.

    Raises:
        ArtifactError: see :func:`load_model`.
    """
    found = head(load_mapped(folder)).unchanging
    weight, bias = (None if each is None else each.to(device, torch.float32) for each in (found.weight, found.bias))
    assert weight is not None
    return found._replace(weight=weight, bias=bias)


def _opened(folder: Path, *, own: bool = False) -> PreTrainedModel:
    """A folder's model, in fp32 or in its files' `own` type."""
    check_files(folder)
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM

    from orchestrator.models import _token_moe  # noqa: F401  registers its model type

    try:
        options = {"dtype": own_type(weight_files(folder, folder.name))} if own else {}
        with quiet():
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            model, report = AutoModelForCausalLM.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                config=config,
                attn_implementation=attention(config),
                output_loading_info=True,
                **options,
            )
        check_complete(report)
    except (OSError, ValueError, RuntimeError, KeyError, json.JSONDecodeError, SafetensorError) as error:
        raise ArtifactError(
            f"the model can't be opened: {str(error).splitlines()[0]}",
            where=str(folder),
            fix="run the stage that made it again (--force)",
        ) from None
    opened: PreTrainedModel = model
    return opened


def hidden_width(folder: Path) -> int:
    """Width of the hidden states that the head of a model in a folder takes, from its configuration.

    Raises:
        ArtifactError: it has no readable configuration.
    """
    from transformers import AutoConfig

    from orchestrator.models import _token_moe  # noqa: F401  registers its model type

    try:
        return head_width(AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False))
    except (OSError, ValueError, KeyError, AttributeError):
        fix = "run the stage that made it again (--force)"
        raise ArtifactError("the model's configuration can't be read", str(folder / "config.json"), fix) from None


def weights_digest(weights: nn.Module | Mapping[str, Tensor], dtype: torch.dtype | None = None) -> str:
    """SHA-256 over names, types, shapes and bytes of the weights in the order of their names, tied weights once.

    Args:
        weights: a model, or its weights by name.
        dtype: that floating-point numbers are taken in; None: their own.
    """
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    digest, seen, pages = hashlib.sha256(), set(), Pages()
    for name in sorted(state):
        tensor = lying = state[name]
        storage = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if storage in seen:
            continue
        seen.add(storage)
        if tensor.is_floating_point() and dtype is not None:
            tensor = tensor.to(dtype)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        data: Any = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        digest.update(data)
        pages.let_go([lying])
    return digest.hexdigest()
