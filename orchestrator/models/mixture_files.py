"""A mixture as a folder: every expert a Hugging Face folder of its own, which transformers opens without our code.

``mixture.json`` {"format", "setup", "languages"} and ``experts/<language>/``; ``common/`` and ``combiners.safetensors``
where the setup has them. Layers that experts share are in each expert's folder, and one again when it is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from orchestrator.artifacts import check_files, write_json
from orchestrator.config.base import PluginSpec, build
from orchestrator.disk import file_digest
from orchestrator.errors import ArtifactError, PluginError
from orchestrator.models.files import load_model, save_model
from orchestrator.models.mixture import COMMON, Mixture
from orchestrator.tokens.kept import vocabulary_of

if TYPE_CHECKING:
    from orchestrator.models.setups._base import Setup

ABOUT, COMBINERS = "mixture.json", "combiners.safetensors"
_FORMAT = 1
_FIX = "go back to another version (mome mixture use), or make it again: mome run RECIPE --force mixture"


def write_about(out: Path, setup: PluginSpec, languages: tuple[str, ...]) -> None:
    """Write ``mixture.json``."""
    about = {"format": _FORMAT, "setup": setup.model_dump(mode="json"), "languages": list(languages)}
    write_json(out / ABOUT, about)


def read_about(folder: Path) -> tuple[PluginSpec, tuple[str, ...]]:
    """Setup and languages of a mixture's folder, every part of which is there.

    Raises:
        ArtifactError: ``mixture.json`` can't be read, or a part is missing.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about["format"] != _FORMAT:
            what = f"the mixture can't be read: its format is {about['format']}, this release of MoME reads {_FORMAT}"
            raise ArtifactError(what, str(folder / ABOUT), "take the release that wrote it, or a newer one")
        setup, languages = PluginSpec.model_validate(about["setup"]), tuple(map(str, about["languages"]))
        parts = [f"experts/{language}" for language in languages]
        parts += [COMMON] * build("models.setups", setup).has_common
    except (OSError, ValueError, KeyError, TypeError, PluginError):
        raise ArtifactError("the mixture can't be read", str(folder / ABOUT), _FIX) from None
    for part in parts:
        if not (folder / part / "config.json").is_file():
            raise ArtifactError(f"the mixture lacks {part}", str(folder / part), _FIX)
    return setup, languages


def save_mixture(mixture: Mixture, setup: PluginSpec, tokenizer: Path, out: Path) -> None:
    """Write a mixture's folder.

    Args:
        mixture: on any device.
        setup: that it was assembled by.
        tokenizer: folder of the tokenizer's files.
        out: folder to write to.

    Raises:
        ArtifactError: the tokenizer folder has no tokenizer.json. ResourceError: no space left.
    """
    from safetensors.torch import save_file

    for language, expert in mixture.experts.items():
        save_model(expert, tokenizer, out / "experts" / language)
    if mixture.common is not None:
        save_model(mixture.common, tokenizer, out / COMMON)
    if learned := {name: value.cpu().contiguous() for name, value in mixture.combiners.state_dict().items()}:
        save_file(learned, out / COMBINERS)
    write_about(out, setup, mixture.languages)


def load_mixture(folder: Path, device: str | torch.device = "cpu", languages: Sequence[str] | None = None) -> Mixture:
    """Open a mixture's folder, in evaluation mode.

    Args:
        folder: of the mixture.
        device: to load it on.
        languages: whose experts are wanted; None: all.

    Raises:
        ArtifactError: a file is missing or damaged, or experts disagree on a layer they share.
        ModelError: the experts don't fit together.
    """
    check_files(folder / ABOUT)
    spec, there = read_about(folder)
    setup: Setup = build("models.setups", spec)
    wanted = there if languages is None else languages
    experts: dict[str, nn.Module] = {name: load_model(folder / "experts" / name) for name in wanted}
    common = load_model(folder / COMMON) if setup.has_common else None
    layers = {name: _layers(model) for name, model in {**experts, **({COMMON: common} if common else {})}.items()}
    mixture = setup.assemble(experts, common)
    _check_shared(mixture, layers, folder)
    if mixture.combiners.state_dict():
        _load_combiners(mixture, folder / COMBINERS)
    return mixture.to(device).eval()


def _layers(model: Any) -> dict[str, torch.Tensor]:
    return {
        "embedding": model.get_input_embeddings().weight.detach(),
        "head": model.get_output_embeddings().weight.detach(),
    }


def _check_shared(mixture: Mixture, layers: Mapping[str, Mapping[str, torch.Tensor]], folder: Path) -> None:
    for layer in mixture.shared:
        first, *others = layers
        for other in others:
            if not torch.equal(layers[first][layer], layers[other][layer]):
                what = f"the experts {first} and {other} share their {layer} and it differs"
                raise ArtifactError(what, str(folder), _FIX)


def _load_combiners(mixture: Mixture, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_files(path)
    try:
        learned = {name: value for name, value in load_file(path).items() if name.split(".")[0] in mixture.combiners}
        mixture.combiners.load_state_dict(learned)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(f"the mixture's combiners can't be read: {error}", str(path), _FIX) from None


def tokenizer_digest(folder: Path) -> str:
    """Identity of the tokenizer in an expert's folder, or of the one that it was cut from.

    Raises:
        ArtifactError: it has none.
    """
    try:
        kept = vocabulary_of(folder)
        return file_digest(folder / "tokenizer.json") if kept is None else kept.tokenizer
    except OSError:
        raise ArtifactError("an expert has no tokenizer", str(folder / "tokenizer.json"), _FIX) from None


def whole_vocabulary(folder: Path) -> int:
    """Tokens of an expert's model, or of the vocabulary that its own was cut from.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    if (kept := vocabulary_of(folder)) is not None:
        return kept.size
    try:
        return int(json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError):
        fix = "run the stage that made it again (--force)"
        raise ArtifactError("an expert's configuration can't be read", str(folder / "config.json"), fix) from None
