"""A byte-level tokenizer as llama.cpp knows it: tokens, merges, special ids. Others are refused, by what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import TokenizerError
from orchestrator.exports._source import Expert
from orchestrator.models.zoo._gguf import pre_tokenizer_name

ENDS = ("eos", "eot", "eom")
"""What a file calls the tokens that end an answer: as many can be told."""
_PLAIN = {"continuing_subword_prefix": "", "end_of_word_suffix": "", "byte_fallback": False}
_WORDS = {"add_prefix_space": False, "use_regex": True}


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF file says of its tokenizer.

    Attributes:
        pre: llama.cpp's name of the rules by which texts are cut into words.
        tokens: by id, written as byte-level BPE does.
        special: of each, whether it stands for no text.
        merges: "left right", in their order.
        begin: ids of the tokens in front of a document; empty where there are none.
        ends: ids of the tokens that end an answer, the one that ends documents first.
        unknown: id of the unknown token; None: there is none.
    """

    pre: str
    tokens: list[str]
    special: list[bool]
    merges: list[str]
    begin: list[int]
    ends: list[int]
    unknown: int | None


def vocabulary_of(expert: Expert, tool: str) -> Vocabulary:
    """The expert's.

    Args:
        expert: to be exported.
        tool: that it is for, for the message.

    Raises:
        TokenizerError: llama.cpp would read texts otherwise.
    """
    path = expert.folder / "tokenizer.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    if reason := unlike_known(description):
        what = f"{tool} reads byte-level BPE by the rules of a few models alone, and the run's tokenizer {reason}"
        raise TokenizerError(what, str(path), "take --to hf, --to onnx or --to ctranslate2")
    model = description["model"]
    ids: dict[str, int] = dict(model["vocab"])
    added = {entry["content"]: entry for entry in description["added_tokens"]}
    ids |= {content: entry["id"] for content, entry in added.items()}
    by_id = {index: token for token, index in ids.items()}
    if sorted(by_id) != list(range(len(by_id))):
        raise TokenizerError("the tokenizer has ids without a token", str(path), "take --to hf")
    tokens = [by_id[index] for index in range(len(by_id))]
    unknown = model.get("unk_token")
    return Vocabulary(
        pre=str(pre_tokenizer_name(description)),
        tokens=tokens,
        special=[token in added and bool(added[token]["special"]) for token in tokens],
        merges=[merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]],
        begin=list(expert.tokenizer.special.begin),
        ends=list(expert.tokenizer.special.eos),
        unknown=None if unknown is None else ids.get(unknown),
    )


def unlike_known(description: Mapping[str, Any]) -> str:
    """How a tokenizer differs from all that llama.cpp knows in more than its tokens, for a sentence; "": it does not.

    Known are the rules of GPT-2, SmolLM, Llama 3 and Qwen 2.
    """
    model, words = description["model"], description.get("pre_tokenizer") or {}
    if model.get("type") != "BPE":
        return f"is {model.get('type')}"
    if description.get("normalizer"):
        return f"changes texts first ({description['normalizer'].get('type')})"
    has_name = pre_tokenizer_name(description) is not None
    if not has_name and words.get("type") != "ByteLevel":
        return f"cuts texts by other rules ({words.get('type', 'none')})"
    for place, expected in ((model, _PLAIN), ({} if has_name else words, _WORDS)):
        for key, value in expected.items():
            if place.get(key, value) not in (value, None):
                return f"has {key} {place[key]}"
    if not has_name:
        return "looks whole words up first"
    plain = [entry["content"] for entry in description["added_tokens"] if not entry["special"]]
    return f"has the added token {plain[0]!r}" if plain else ""
