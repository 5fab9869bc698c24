"""The tokenizer that comes with a pretrained model, as files."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from orchestrator.errors import ModelError, MomeError, TokenizerError
from orchestrator.models.zoo._gguf import check_gguf, keep_pre_tokenizer
from orchestrator.tokens.closing import held_ids, take_closed
from orchestrator.tokens.special import GENERATION
from orchestrator.tokens.tokenizer import FILES

_SLOW = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt")
"""Files of tokenizers in older forms, which transformers converts."""


class Origin(Protocol):
    """Where a pretrained model comes from: :class:`orchestrator.models.zoo.pretrained.Pretrained`."""

    @property
    def name(self) -> str:
        """As the recipe has it."""

    @property
    def revision(self) -> str | None:
        """Of the hub."""

    @property
    def path(self) -> Path:
        """The name as a path."""

    @property
    def is_local(self) -> bool:
        """Whether it lies here."""

    @property
    def gguf(self) -> Path | None:
        """The GGUF file; None where it is none."""

    @property
    def base(self) -> Origin | None:
        """The model that an adapter is of; None where it is no adapter."""

    def file(self, name: str) -> Path | None:
        """One of its files; None where there is none."""


def tokenizer_folder(model: Origin) -> Path | None:
    """A folder with the `tokenizer.json` of a model and what goes with it; None where the model has no tokenizer.

    Raises:
        ModelError: it can't be read or converted. ResourceError: the hub can't be reached, or a package is missing.
    """
    if model.gguf is not None:
        check_gguf(model.gguf)
        return _converted(model.name, model.revision, model.gguf, model.gguf.stat().st_mtime_ns)
    if model.is_local and not model.path.exists():
        return None
    if (file := model.file(FILES[0])) is not None:
        for name in () if model.is_local else (*FILES[1:], GENERATION):
            model.file(name)  # fetched to the same folder
        return file.parent
    if (base := model.base) is not None:
        return tokenizer_folder(base)
    if any(model.file(name) is not None for name in _SLOW):
        return _converted(model.name, model.revision, None, 0)
    return None


def no_tokenizer(name: str) -> ModelError:
    """The error for a model without one."""
    what = f"{name} has no tokenizer (tokenizer.json) that could be taken"
    fix = "put the files of its tokenizer beside its weights, or set tokenizer.path to a folder that has them"
    return ModelError(what, "teacher.model", fix)


def advice(folder: Path, rows: int | None, name: str) -> str:
    """What to type: a model's own tokenizer, where a run can have it.

    Args:
        folder: of the model's tokenizer.
        rows: of the model's vocabulary, where that is to be checked too.
        name: of the model, for its own message.
    """
    try:
        size = len(held_ids(folder))
    except TokenizerError:
        return "take a model with a tokenizer that can be read, or train one: teacher.model=gpt2-medium"
    if rows is not None and rows < size:
        return (
            f"{name} comes with {size} tokens for {rows} rows: add the rows (resize_token_embeddings of transformers)"
        )
    return (
        f"use its tokenizer: leave `tokenizer` out where it is the teacher and teacher.train=false, "
        f"or tokenizer.path={folder} tokenizer.vocab_size={size}; a teacher that is taken as it is may keep another "
        "one than the experts: set experts.distillation.alignment=spans"
    )


def write_tokenizer(model: Origin, out: Path) -> None:
    """Write a model's own tokenizer with its chat template, and which tokens end its answers; ids without gaps.

    Raises:
        ModelError: it has none. See also :func:`tokenizer_folder`.
    """
    folder = tokenizer_folder(model)
    if folder is None:
        raise no_tokenizer(model.name)
    take_closed(folder, out)


@lru_cache(maxsize=4)
def _converted(name: str, revision: str | None, gguf: Path | None, modified_ns: int) -> Path:  # noqa: ARG001 (part of the key)
    """A tokenizer in another form, written as `tokenizer.json` into a folder that lives as long as this process."""
    from transformers import AutoTokenizer

    folder = Path(tempfile.mkdtemp(prefix="mome-tokenizer-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    where, options = name, dict[str, Any]()
    if gguf is not None:
        where, options = str(gguf.parent), {"gguf_file": gguf.name}
    try:
        AutoTokenizer.from_pretrained(where, revision=revision, trust_remote_code=False, **options).save_pretrained(
            folder
        )
    except MomeError:
        raise
    except Exception as error:  # converters raise whatever their formats' readers do
        what = f"the tokenizer of {name} can't be converted: {str(error).splitlines()[0] if str(error) else error!r}"
        raise ModelError(
            what, where, "save it as tokenizer.json: AutoTokenizer.from_pretrained(…).save_pretrained(…)"
        ) from None
    if not (folder / FILES[0]).is_file():
        raise ModelError(f"the tokenizer of {name} has no fast form (tokenizer.json)", where, "take another teacher")
    if gguf is not None:
        keep_pre_tokenizer(gguf, folder)
    return folder
