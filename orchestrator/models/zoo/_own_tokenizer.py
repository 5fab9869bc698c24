"""The tokenizer that comes with a pretrained model, as files."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ModelError, MomeError
from orchestrator.models.zoo._gguf import check_gguf, keep_pre_tokenizer
from orchestrator.tokens.special import GENERATION
from orchestrator.tokens.tokenizer import FILES, take_tokenizer

if TYPE_CHECKING:
    from orchestrator.models.zoo.pretrained import Pretrained

_SLOW = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt")
"""Files of tokenizers in older forms, which transformers converts."""


def tokenizer_folder(model: Pretrained) -> Path | None:
    """A folder with the `tokenizer.json` of a model and what goes with it; None where the model has no tokenizer.

    Raises:
        ModelError: it can't be read or converted. ResourceError: the hub can't be reached, or a package is missing.
    """
    if model.gguf is not None:
        check_gguf(model.gguf)
        return _converted(model.name, model.revision, model.gguf.stat().st_mtime_ns)
    if model.is_local and not model.path.exists():
        return None
    if (file := model.file(FILES[0])) is not None:
        for name in () if model.is_local else (*FILES[1:], GENERATION):
            model.file(name)  # fetched to the same folder
        return file.parent
    if model.is_adapter:
        return tokenizer_folder(model.base)
    if any(model.file(name) is not None for name in _SLOW):
        return _converted(model.name, model.revision, 0)
    return None


def no_tokenizer(name: str) -> ModelError:
    """The error for a model without one."""
    what = f"{name} has no tokenizer (tokenizer.json) that could be taken"
    fix = "put the files of its tokenizer beside its weights, or set tokenizer.path to a folder that has them"
    return ModelError(what, "teacher.model", fix)


def write_tokenizer(model: Pretrained, out: Path) -> None:
    """Write a model's own tokenizer with its chat template, and which tokens end its answers.

    Raises:
        ModelError: it has none. See also :func:`tokenizer_folder`.
    """
    folder = tokenizer_folder(model)
    if folder is None:
        raise no_tokenizer(model.name)
    take_tokenizer(folder, out)


@lru_cache(maxsize=4)
def _converted(name: str, revision: str | None, modified_ns: int) -> Path:  # noqa: ARG001 (part of the key)
    """A tokenizer in another form, written as `tokenizer.json` into a folder that lives as long as this process."""
    from transformers import AutoTokenizer

    from orchestrator.models.zoo.pretrained import Pretrained

    model = Pretrained(name, revision)
    folder = Path(tempfile.mkdtemp(prefix="mome-tokenizer-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    options: dict[str, Any] = {"trust_remote_code": False}
    where = name
    if model.gguf is not None:
        where, options = str(model.gguf.parent), {**options, "gguf_file": model.gguf.name}
    try:
        AutoTokenizer.from_pretrained(where, revision=revision, **options).save_pretrained(folder)
    except MomeError:
        raise
    except Exception as error:  # converters raise whatever their formats' readers do
        what = f"the tokenizer of {name} can't be converted: {str(error).splitlines()[0] if str(error) else error!r}"
        raise ModelError(
            what, where, "save it as tokenizer.json: AutoTokenizer.from_pretrained(…).save_pretrained(…)"
        ) from None
    if not (folder / FILES[0]).is_file():
        raise ModelError(f"the tokenizer of {name} has no fast form (tokenizer.json)", where, "take another teacher")
    if model.gguf is not None:
        keep_pre_tokenizer(model.gguf, folder)
    return folder
