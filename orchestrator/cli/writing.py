"""The text of a recipe for somebody's own files, in the sizes that a machine of a kind trains in reasonable time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

_CHARACTERS_A_TOKEN = 3


@dataclass(frozen=True)
class Text:
    """Text of one language.

    Attributes:
        name: of the language.
        source: options of `files`; empty: the Python files of this interpreter.
        is_code: whether it is code.
        characters: how much there is, about.
    """

    name: str
    source: Mapping[str, Any]
    is_code: bool
    characters: int


@dataclass(frozen=True)
class _Sizes:
    vocabulary: int
    context: int
    teacher: str
    expert: str
    batch: int
    micro_batch: int
    optimizer: tuple[str, str]
    most: int
    """Tokens of each language, at most."""
    eval_every: int


_SIZES = {
    "cpu": _Sizes(
        4096, 128, "gpt2-tiny-teacher", "gpt2-tiny-expert", 2048, 16,
        ("{type: muon, lr: 4.0e-3}", "{type: muon, lr: 8.0e-3}"), 300_000, 50,
    ),
    "gpu": _Sizes(
        32_000, 1024, "gpt2-medium", "distil-gpt2", 524_288, 32,
        ("{type: adamw, lr: 6.0e-4, weight_decay: 0.05}", "{type: adamw, lr: 1.0e-3, weight_decay: 0.05}"),
        100_000_000, 100,
    ),
}  # fmt: skip


def recipe_text(
    name: str, texts: Sequence[Text], device: Literal["cpu", "gpu"], teacher: str | None, *, filtered: bool
) -> str:
    """A recipe in YAML, with a comment where a choice was made.

    Args:
        name: of the run.
        texts: of each language.
        device: for which kind of machine the sizes are.
        teacher: a pretrained one, by folder or hub name; None: one is trained.
        filtered: whether documents in other languages are dropped.
    """
    sizes = _SIZES[device]
    least = min(text.characters for text in texts) // _CHARACTERS_A_TOKEN
    balance = f"{{tokens_per_language: {sizes.most}}}" if least > 1.1 * sizes.most else "{}"
    tokens = min(least, sizes.most) * len(texts)
    languages = "\n".join(f"    {text.name}: {_language(text)}" for text in texts)
    filters = "\n  filters: [language]  # drops documents in another language than their own; the report counts them"
    return f"""# Written by `mome init`. Every field: mome schema, or the site's page "Recipe fields".
# mome run FILE --plan says what it takes; mome data build FILE builds the corpus alone.
name: {name}
seed: 17

corpus:
  languages:
{languages}{filters if filtered else ""}

{_tokenizer(sizes, teacher)}
blocks:
  context: {sizes.context}
  balance: {balance}  # empty: as many tokens of each language as the smallest has

{_teacher(sizes, teacher, 3 * tokens)}
experts:
  model: {sizes.expert}{_of_teacher(teacher)}
{_training(sizes, 3 * tokens // len(texts), sizes.optimizer[1], sizes.batch if device == "gpu" else sizes.batch // 2)}
  distillation: {{soft: forward_kl, teacher: hidden_cache}}

router:
  type: prompt  # for what people type; `paper` is made for whole blocks
  reject: best
"""


def _language(text: Text) -> str:
    kind = ", kind: code" if text.is_code else ""
    if not text.source:
        return f"{{source: python_env{kind}}}"
    # What JSON writes is YAML.
    options = ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in text.source.items())
    return f"{{source: {{type: files, {options}}}{kind}}}"


def _tokenizer(sizes: _Sizes, teacher: str | None) -> str:
    if teacher is not None:
        return "tokenizer: {of_teacher: true}\n"
    return f"tokenizer: {{vocab_size: {sizes.vocabulary}}}\n"


def _teacher(sizes: _Sizes, teacher: str | None, tokens: int) -> str:
    if teacher is not None:
        name = json.dumps(teacher, ensure_ascii=False)
        return f"teacher:\n  model: {{type: pretrained, name: {name}}}\n  train: false  # taken as it is\n"
    return f"teacher:\n  model: {sizes.teacher}\n{_training(sizes, tokens, sizes.optimizer[0], sizes.batch)}\n"


def _of_teacher(teacher: str | None) -> str:
    """What experts have of the teacher."""
    if teacher is None:
        return "\n  initialise: teacher  # begin as the larger part of it; random: from nothing"
    return "\n  vocabulary: {keep: 0.999}  # each expert has the tokens that its language needs; null: all"


def _training(sizes: _Sizes, tokens: int, optimizer: str, batch: int) -> str:
    return f"""  training:
    tokens: {max(tokens, batch)}  # about three passes over the text
    batch_tokens: {batch}
    micro_batch: {min(sizes.micro_batch, batch // sizes.context)}
    optimizer: {optimizer}
    eval_every: {sizes.eval_every}
    checkpoint_every: {2 * sizes.eval_every}"""
