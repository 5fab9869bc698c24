"""Special tokens by what they do, not by their ids: every tokenizer has others.

A tokenizer's files say which they are: `tokenizer_config.json` (or `special_tokens_map.json`) names them,
`tokenizer.json` says what its post-processor puts in front of a text, and a model's `generation_config.json` says which
tokens end an answer, where there are several.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from orchestrator.errors import TokenizerError

CONFIG, NAMES, GENERATION = "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"
SEPARATOR = "<|endoftext|>"
"""What GPT-2, GPT-NeoX, Qwen, Phi, OLMo, SmolLM and others were trained with between documents. Their chat models keep
it, and name another end token, which ends a turn."""


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of a tokenizer's special tokens by their roles.

    Attributes:
        bos: named as the first token of a text; None: there is none.
        eos: every token that ends a text or an answer, the one that ends documents first; may be empty.
        unk: what the encoder writes for text it has no tokens for; None: it never does.
        begin: what a document begins with in packed blocks, and a prompt.
        end: what a document ends with in packed blocks; empty where the next one's `begin` says so.
    """

    bos: int | None
    eos: tuple[int, ...]
    unk: int | None
    begin: tuple[int, ...]
    end: tuple[int, ...]

    @property
    def delimiters(self) -> int:
        """Tokens of a document in packed blocks beside its text."""
        return len(self.begin) + len(self.end)


OURS = SpecialTokens(bos=1, eos=(2,), unk=0, begin=(1,), end=(2,))
"""Of tokenizers that are trained here."""
OUR_NAMES = ("<unk>", "<s>", "</s>")
"""Of the tokens 0, 1, 2 of tokenizers that are trained here."""


def special_tokens(folder: Path, tokenizer: Tokenizer) -> SpecialTokens:
    """The roles in a folder's files.

    Where the tokenizer puts a token in front of a text, documents begin with it and end with the first end token. Where
    it puts none, documents are separated as its model was trained: by `<|endoftext|>`, or else by the first end token,
    in front of each. Without any special token documents follow one another with nothing between them.

    Args:
        folder: with the files; those beside `tokenizer.json` may be missing.
        tokenizer: its tokenizer, opened.

    Raises:
        TokenizerError: a file can't be read.
    """
    config = _read(folder / CONFIG)
    names = {**_read(folder / NAMES), **{key: value for key, value in config.items() if value is not None}}
    if _written_here(tokenizer, names):
        return OURS
    bos = _named(tokenizer, names, "bos_token", ("<s>", "<bos>"))
    eos = _named(tokenizer, names, "eos_token", ("</s>", "<eos>", SEPARATOR))
    # What a text may contain ends nothing: configurations have ids by default that mean something else here.
    unk = _unknown(tokenizer)
    known = {index for index, token in tokenizer.get_added_tokens_decoder().items() if token.special} - {unk}
    told = [index for index in _ids(_read(folder / GENERATION).get("eos_token_id")) if index in known]
    ends = tuple(dict.fromkeys([*([] if eos is None else [eos]), *told]))
    front = _front(tokenizer, names, bos)
    if front:
        separated = front[-1] in ends or not ends
        return SpecialTokens(bos, ends, unk, front, () if separated else ends[:1])
    separator = _special(tokenizer, SEPARATOR)
    ends = tuple(dict.fromkeys([*([] if separator is None else [separator]), *ends]))
    first = ends[:1] or (() if bos is None else (bos,))
    return SpecialTokens(bos, ends, unk, first, ())


def has_our_tokens(tokenizer: Tokenizer) -> bool:
    """Whether `<unk> <s> </s>` are its tokens 0, 1, 2."""
    return tuple(tokenizer.token_to_id(name) for name in OUR_NAMES) == (0, 1, 2)


def _written_here(tokenizer: Tokenizer, names: Mapping[str, Any]) -> bool:
    """Whether :func:`orchestrator.tokens.tokenizer.save_tokenizer` wrote it: it puts `<s>` in front whatever the
    post-processor says, and nobody else's configuration splits special tokens in text by default.
    """
    told = names.get("split_special_tokens") is True or not names
    return has_our_tokens(tokenizer) and told and names.get("bos_token", OUR_NAMES[1]) == OUR_NAMES[1]


def _front(tokenizer: Tokenizer, names: Mapping[str, Any], bos: int | None) -> tuple[int, ...]:
    """What the tokenizer puts in front of a text by itself."""
    if names.get("add_bos_token") is False:
        return ()
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a", add_special_tokens=True).ids
    places = range(len(whole) - len(bare) + 1)
    place = next((at for at in places if whole[at : at + len(bare)] == bare), 0)
    if not place and names.get("add_bos_token") is True and bos is not None:
        return (bos,)
    return tuple(whole[:place])


def _named(tokenizer: Tokenizer, names: Mapping[str, Any], role: str, usual: Sequence[str]) -> int | None:
    """Id of the token of a role; of a usual name where no file says it."""
    if names:
        value = names.get(role)
        content = value.get("content") if isinstance(value, Mapping) else value
        return tokenizer.token_to_id(str(content)) if content else None
    return next((index for name in usual if (index := _special(tokenizer, name)) is not None), None)


def _special(tokenizer: Tokenizer, name: str) -> int | None:
    """Id of a special token; None where there is none, or the name is that of a token of text."""
    found = {token.content: index for index, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    return found.get(name)


def _unknown(tokenizer: Tokenizer) -> int | None:
    model = json.loads(tokenizer.to_str())["model"]
    if model.get("type") == "Unigram":
        return None if model.get("unk_id") is None else int(model["unk_id"])
    name = model.get("unk_token")
    return tokenizer.token_to_id(name) if name else None


def _ids(value: Any) -> list[int]:
    return [value] if isinstance(value, int) else list(value or [])


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise TokenizerError("the file can't be read as JSON", str(path), "copy the tokenizer's folder again") from None
