"""Models in GGUF files, through transformers, with the pre-tokenizer that the file names.

Where transformers does not know the name in `tokenizer.ggml.pre` (older versions: any name) a byte-level tokenizer gets
GPT-2's rules: digits and line breaks would be cut otherwise than in the model's training.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchestrator.errors import ModelError, ResourceError

_FIELDS = ("general.architecture", "tokenizer.ggml.model", "tokenizer.ggml.pre")
INSTALL = "pip install 'mome-orchestrator[teachers]'"
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
_GPT2 = {**_BYTES, "use_regex": True}
_SINGLE_DIGITS = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, _GPT2]}


def _split(digits: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": _WORDS.replace("DIGITS", digits)}, "behavior": "Isolated"}
    return {"type": "Sequence", "pretokenizers": [{**split, "invert": False}, {**_BYTES, "use_regex": False}]}


_PRE_TOKENIZERS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("gpt-2", "olmo", "mpt", "jais"), _GPT2),
    **dict.fromkeys(("smollm", "starcoder", "refact", "codeshell"), _SINGLE_DIGITS),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3"), _split(r"\p{N}{1,3}")),
    **dict.fromkeys(("qwen2", "stablelm2"), _split(r"\p{N}")),
}
"""What llama.cpp's names of byte-level pre-tokenizers stand for."""
_WHOLE_WORDS_FIRST = ("llama-bpe", "llama3", "llama-v3")
"""Those that look a whole word up before merges are tried."""
_MATTERS = {
    "Digits": ("individual_digits",),
    "ByteLevel": ("add_prefix_space", "use_regex"),
    "Split": ("pattern", "behavior"),
}
"""What decides how a pre-tokenizer cuts a text, by its type."""


def check_gguf(path: Path) -> None:
    """Make sure that a GGUF file can be read, and is of an architecture that transformers reads.

    Raises:
        ModelError: it is not. ResourceError: packages that reading needs are not installed.
    """
    if missing := [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]:
        raise ResourceError(f"GGUF files need {' and '.join(missing)}, which is not installed", str(path), INSTALL)
    if not path.is_file():
        raise ModelError("there is no such GGUF file", str(path), "check teacher.model.name")
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    kind = str(gguf_fields(path)["general.architecture"])
    if kind not in GGUF_SUPPORTED_ARCHITECTURES:
        known = ", ".join(sorted(set(GGUF_SUPPORTED_ARCHITECTURES) - {"general", "tokenizer"}))
        what = f"transformers reads no GGUF file of the architecture {kind!r}"
        raise ModelError(what, str(path), f"take the model's Hugging Face folder, or one of {known}")


def gguf_fields(path: Path) -> dict[str, Any]:
    """What the header of a file says of architecture and tokenizer, by llama.cpp's names; None where it does not say.

    Raises:
        ModelError: the file is damaged.
    """
    return _fields(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _fields(path: Path, modified_ns: int) -> dict[str, Any]:  # noqa: ARG001 (part of the key)
    import gguf

    try:
        reader = gguf.GGUFReader(path)
        found = {name: reader.get_field(name) for name in _FIELDS}
        return {name: None if field is None else field.contents() for name, field in found.items()}
    except Exception as error:  # of a damaged file whatever numpy and the reader raise
        what = f"the GGUF file is damaged: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        raise ModelError(what, str(path), "copy or download it again") from None


def gguf_configuration(path: Path) -> Any:
    """The configuration in a file's header, of which transformers reads all tokens too: that takes seconds, once.

    Raises:
        whatever transformers raises.
    """
    return deepcopy(_configuration(path, path.stat().st_mtime_ns))


@lru_cache(maxsize=4)
def _configuration(path: Path, modified_ns: int) -> Any:  # noqa: ARG001 (part of the key)
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(str(path.parent), gguf_file=path.name, trust_remote_code=False)


def pre_tokenizer_name(description: Mapping[str, Any]) -> str | None:
    """llama.cpp's name of the rules by which a byte-level tokenizer cuts texts; None: it has none.

    Args:
        description: of `tokenizer.json`.
    """
    words = _cutting(description.get("pre_tokenizer") or {})
    whole_first = bool(description["model"].get("ignore_merges"))
    names = (name for name, rules in _PRE_TOKENIZERS.items() if _cutting(rules) == words)
    return next((name for name in names if (name in _WHOLE_WORDS_FIRST) == whole_first), None)


def _cutting(rules: Mapping[str, Any]) -> Any:
    """A pre-tokenizer by what decides how it cuts."""
    kind = rules.get("type")
    if kind == "Sequence":
        return [_cutting(each) for each in rules["pretokenizers"]]
    return kind, bool(rules.get("invert")), *(rules.get(key, True) for key in _MATTERS.get(str(kind), ()))


@contextmanager
def without_bar() -> Iterator[None]:
    """Without the bar that transformers shows of a GGUF file's tensors, whatever its settings say."""
    from transformers import modeling_gguf_pytorch_utils as reader

    bar = getattr(reader, "tqdm", None)
    reader.tqdm = lambda tensors, **_: tensors
    try:
        yield
    finally:
        reader.tqdm = bar


def _without_made_up(file: Path) -> None:
    """Take tokens off that the GGUF file does not have: transformers adds GPT-2's end token to a Llama 3 without it."""
    description = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = description["model"]["vocab"]
    known = set(vocabulary if isinstance(vocabulary, dict) else (piece for piece, _ in vocabulary))
    description["added_tokens"] = [each for each in description["added_tokens"] if each["content"] in known]
    file.write_text(json.dumps(description, ensure_ascii=False), encoding="utf-8")


def keep_pre_tokenizer(path: Path, folder: Path) -> None:
    """Give a converted byte-level tokenizer the rules that its GGUF file names.

    Args:
        path: of the file.
        folder: with the `tokenizer.json` that transformers made of it; overwritten.

    Raises:
        ModelError: the rules are not known here.
    """
    _without_made_up(folder / "tokenizer.json")
    fields = gguf_fields(path)
    if fields["tokenizer.ggml.model"] != "gpt2":
        return
    name = str(fields["tokenizer.ggml.pre"] or "gpt-2")
    if name not in _PRE_TOKENIZERS:
        what = f"the pre-tokenizer {name!r} of this GGUF file is not known: text would be cut otherwise than it learned"
        raise ModelError(
            what, str(path), f"take the model's Hugging Face folder; known are {', '.join(_PRE_TOKENIZERS)}"
        )
    file = folder / "tokenizer.json"
    description = json.loads(file.read_text(encoding="utf-8"))
    description["pre_tokenizer"] = _PRE_TOKENIZERS[name]
    description["model"]["ignore_merges"] = name in _WHOLE_WORDS_FIRST
    file.write_text(json.dumps(description, ensure_ascii=False), encoding="utf-8")
