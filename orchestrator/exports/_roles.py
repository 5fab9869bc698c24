"""A tokenizer from elsewhere, written so that a text is encoded as the expert was trained: after its begin token.

GPT-2's and others put nothing in front of a text, while their experts learned documents that begin with the separator.
"""

from __future__ import annotations

from typing import Any

from serve.text import Tokenizer

_NAMES = ("unk_token", "bos_token", "eos_token")
_DROPPED = ("add_bos_token", "add_eos_token", "backend", "is_local", "local_files_only")


def as_trained(description: dict[str, Any], config: dict[str, Any], tokenizer: Tokenizer) -> bool:
    """Change `tokenizer.json` and `tokenizer_config.json`, as read, in place; those of our own tokenizers stay.

    Args:
        description: of `tokenizer.json`.
        config: of `tokenizer_config.json`.
        tokenizer: the expert's.

    Returns:
        Whether there was something to change.
    """
    special = tokenizer.special
    if config.get("split_special_tokens") is True and config.get("tokenizer_class") == "PreTrainedTokenizerFast":
        return False
    names = {entry["id"]: str(entry["content"]) for entry in description["added_tokens"]}
    begin = [names[token] for token in special.begin if token in names]
    pieces = [{"SpecialToken": {"id": name, "type_id": 0}} for name in begin]
    description["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [*pieces, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [*pieces, {"Sequence": {"id": "A", "type_id": 0}}, *pieces, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            name: {"id": name, "ids": [token], "tokens": [name]}
            for name, token in zip(begin, special.begin, strict=False)
        },
    }
    for key in _DROPPED:
        config.pop(key, None)
    config |= {"tokenizer_class": "PreTrainedTokenizerFast", "split_special_tokens": True}
    config |= {"model_input_names": ["input_ids", "attention_mask"], "clean_up_tokenization_spaces": False}
    if begin:
        config["bos_token"] = begin[0]
    if special.eos:
        config["eos_token"] = names[special.eos[0]]
    return True


def names_of(config: dict[str, Any]) -> dict[str, str]:
    """`special_tokens_map.json`, which transformers 5 no longer writes, from `tokenizer_config.json`."""
    found = {name: config.get(name) for name in _NAMES}
    return {name: str(value["content"] if isinstance(value, dict) else value) for name, value in found.items() if value}
