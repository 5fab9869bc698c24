"""A folder that transformers opens, of version 4.44 as of 5, with a model card."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from orchestrator.artifacts import write_json
from orchestrator.exports._base import ExpertExport
from orchestrator.exports._card import model_card
from orchestrator.exports._check import Opened
from orchestrator.exports._roles import as_trained, names_of
from orchestrator.exports._source import Expert
from orchestrator.models.files import save_model
from orchestrator.models.zoo._base import quiet
from orchestrator.tokens.tokenizer import FILES

CARD = "README.md"


@dataclass(frozen=True)
class HuggingFace(ExpertExport):
    """A folder that `AutoModelForCausalLM` and `AutoTokenizer` of transformers 4.44 to 5 open, with a model card.

    Transformers of version 4 reads fields that version 5 no longer writes; the tokenizers that it comes with read
    merges as lines of text. Both are written beside what version 5 reads. So are a padding token and the context's
    length, which training and batched generation ask the tokenizer for.
    """

    tool: ClassVar[str] = "transformers"

    def write_expert(self, expert: Expert, out: Path) -> None:
        """See :class:`ExpertExport`."""
        write_folder(expert, out, self.tool)
        (out / CARD).write_text(model_card(expert), encoding="utf-8")

    @contextmanager
    def open(self, folder: Path) -> Iterator[Opened]:
        """See :class:`ExpertExport`."""
        yield _Opened(folder)


def write_folder(expert: Expert, out: Path, tool: str) -> None:
    """Write the model and its tokenizer; other formats convert such a folder.

    Args:
        expert: to be written.
        out: folder to write to.
        tool: that it is for, for messages.

    Raises:
        ModelError: the expert computes beside a common expert, or its class is our own.
    """
    model: Any = expert.alone(tool)
    context = int(model.config.max_position_embeddings)
    save_model(model, expert.folder, out)
    write_json(out / "config.json", read_by_4(json.loads((out / "config.json").read_text(encoding="utf-8"))))
    _write_tokenizer(expert, out, context)


_ROPE: dict[str, dict[str, tuple[str, ...]]] = {
    "gpt_neox": {"rotary_pct": ("partial_rotary_factor",), "rotary_emb_base": ("rope_theta",)},
    "gemma3_text": {
        "rope_theta": ("full_attention", "rope_theta"),
        "rope_local_base_freq": ("sliding_attention", "rope_theta"),
    },
}
"""Names of version 4 that are a family's own, and where version 5 has them in `rope_parameters`."""


def _inside(rope: Any, path: Sequence[str]) -> Any:
    for name in path:
        rope = rope.get(name) if isinstance(rope, dict) else None
    return rope


def read_by_4(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration with the fields that transformers 4, and converters made for it, read beside those of 5."""
    found = dict(config)
    if "dtype" in config:
        found["torch_dtype"] = config["dtype"]
    if "n_positions" in config:
        found["n_ctx"] = config["n_positions"]
    rope = config.get("rope_parameters") or {}
    for key in ("rope_theta", "partial_rotary_factor"):
        if key in rope:
            found[key] = rope[key]
    named = _ROPE.get(str(config.get("model_type")), {})
    found |= {name: _inside(rope, path) for name, path in named.items() if _inside(rope, path) is not None}
    if rope.get("rope_type", "default") != "default":
        found["rope_scaling"] = rope
    return found


def _write_tokenizer(expert: Expert, out: Path, context: int) -> None:
    file, config, names = (out / name for name in FILES[:3])
    description = json.loads(file.read_text(encoding="utf-8"))
    known = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    changed = as_trained(description, known, expert.tokenizer)
    merges = description["model"].get("merges", [])
    if merges and not any(" " in part for merge in merges if not isinstance(merge, str) for part in merge):
        description["model"]["merges"] = [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
        changed = True
    if changed:
        file.write_text(json.dumps(description, ensure_ascii=False, indent=1), encoding="utf-8")
    pad = {"pad_token": padding_token(description, expert)}
    write_json(config, {**known, **pad, "padding_side": "left", "model_max_length": context})
    write_json(names, {**names_of(known), **pad})
    generation = out / "generation_config.json"
    if generation.is_file():
        ids = {entry["content"]: entry["id"] for entry in description["added_tokens"]}
        told = json.loads(generation.read_text(encoding="utf-8"))
        write_json(generation, {**told, "pad_token_id": ids.get(pad["pad_token"], told.get("pad_token_id"))})


def padding_token(description: dict[str, Any], expert: Expert) -> str:
    """The token to pad with: the unknown token where no text has it, else the end token.

    Who trains on with the end token as padding masks it in the labels, and the model forgets to end.
    """
    added = {entry["id"]: str(entry["content"]) for entry in description["added_tokens"]}
    unknown = description["model"].get("unk_token")
    has_all_bytes = {bytes([byte]) for byte in range(256)} <= set(expert.tokenizer.bytes)
    if unknown in added.values() and has_all_bytes:
        return str(unknown)
    return added.get(expert.tokenizer.end) or next(iter(added.values()), "")


class _Opened:
    """See :class:`Opened`."""

    def __init__(self, folder: Path) -> None:
        import transformers

        self.version = transformers.__version__
        with quiet():
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
        self._model: Any = model.float().eval()

    def encode(self, text: str) -> list[int]:
        with quiet():  # it warns of texts longer than the context
            return [int(token) for token in self._tokenizer(text)["input_ids"]]

    @torch.inference_mode()
    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        inputs = torch.tensor([list(ids)])
        made = self._model.generate(
            input_ids=inputs, attention_mask=torch.ones_like(inputs), do_sample=False, max_new_tokens=count
        )
        found: list[int] = made[0, len(ids) :].tolist()
        told = self._model.generation_config.eos_token_id
        ends = told if isinstance(told, list) else [told]
        return found[: min((found.index(end) for end in ends if end in found), default=len(found))]
