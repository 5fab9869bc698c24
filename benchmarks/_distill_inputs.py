"""What the contenders of `mome bench distill` read: random blocks, an untrained teacher, its cache, a tokenizer."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models

from benchmarks._distill_job import LANGUAGE
from orchestrator.artifacts import write_json
from orchestrator.config.base import PluginSpec
from orchestrator.environment import Environment
from orchestrator.models import build_model
from orchestrator.stages.cache import CacheStage
from orchestrator.training.publish import write_model

SPECIAL = ("<unk>", "<s>", "</s>")


def write_inputs(root: Path, teacher: dict[str, Any], vocab_size: int, context: int, blocks: int) -> None:
    """Write `blocks`, `teacher`, `tokenizer`, and a cache of each kind and precision, `hidden_cache-bf16` for one."""
    inputs = write_teacher(root, teacher, vocab_size, context, blocks)
    for kind, precision in itertools.product(("hidden_cache", "sampled_cache"), ("fp32", "bf16")):
        stage = CacheStage(language=LANGUAGE, teacher=PluginSpec(type=kind), precision=precision, seed=0)
        out = root / f"{kind}-{precision}"
        out.mkdir()
        stage.run(inputs, out, Environment(work=out.with_suffix(".work")))


def write_teacher(root: Path, teacher: dict[str, Any], vocab_size: int, context: int, blocks: int) -> dict[str, Path]:
    """Write `blocks`, `teacher` and `tokenizer`; where the first two are, as a stage reads them."""
    for name in ("blocks/train", "blocks/validation", "teacher", "tokenizer"):
        (root / name).mkdir(parents=True)
    _write_blocks(root / "blocks", vocab_size, context, blocks)
    words = {word: number for number, word in enumerate([*SPECIAL, *(f"w{i}" for i in range(3, vocab_size))])}
    Tokenizer(models.WordLevel(words, unk_token=SPECIAL[0])).save(str(root / "tokenizer" / "tokenizer.json"))
    # One position more than the context, for TRL, which shifts labels itself.
    model = build_model(PluginSpec(**teacher), vocab_size, context + 1, seed=2)
    write_model(model, root / "tokenizer", root / "teacher", {})
    return {"blocks": root / "blocks", "teacher": root / "teacher"}


def _write_blocks(folder: Path, vocab_size: int, context: int, blocks: int) -> None:
    tokens = blocks * context + 1
    ids = np.random.default_rng(0).integers(len(SPECIAL), vocab_size, tokens, dtype=np.uint16)
    for split in ("train", "validation"):
        ids.tofile(folder / split / f"{LANGUAGE}.bin")
    counts = {"documents": 1, "tokens": tokens, "characters": tokens, "bytes": tokens, "blocks": blocks}
    about = {"context": context, "dtype": "uint16", "vocab_size": vocab_size, "languages": [LANGUAGE]}
    write_json(
        folder / "blocks.json", {**about, "splits": {split: {LANGUAGE: counts} for split in ("train", "validation")}}
    )
