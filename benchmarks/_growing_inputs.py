"""What `mome bench growing` reads: generated text, and blocks, teacher, tokenizer and caches of a large vocabulary."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from benchmarks._distill_job import LANGUAGE
from orchestrator.artifacts import write_json
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import ExpertsConfig
from orchestrator.environment import Environment
from orchestrator.models import build_model
from orchestrator.stages.cache import CacheStage, Draw
from orchestrator.stages.vocabulary import VocabularyStage
from orchestrator.training.publish import write_model

WORDS = 300
"""Of a document."""
SEED = 18
CUT = "hidden_cache, cut"
"""The expert with a vocabulary of its own."""


def write_text(path: Path, characters: int, language: int) -> None:
    """Write a JSON Lines file of documents of random words, frequent ones as often as Zipf's law has it.

    Args:
        path: of the file.
        characters: about how many.
        language: its number; each has words of its own.
    """
    draw, numbers = random.Random(language), np.random.default_rng(language)
    words = np.array(["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(8000)])
    shares = 1 / np.arange(1, len(words) + 1)
    written, number = 0, 0
    with path.open("w", encoding="utf-8") as file:
        while written < characters:
            text = " ".join(numbers.choice(words, WORDS, p=shares / shares.sum()))
            file.write(json.dumps({"id": str(number), "text": text}) + "\n")
            written, number = written + len(text), number + 1


def write_vocabulary(
    root: Path, size: int, blocks: int, teacher: PluginSpec, experts: ExpertsConfig, cut: bool
) -> None:
    """Write `tokenizer`, `blocks`, `teacher` and the caches of what the experts' training draws, below `root`.

    Args:
        root: an empty folder.
        size: tokens of the vocabulary.
        blocks: how many, of random tokens that Zipf's law makes frequent; their context is fixed in `_write_blocks`.
        teacher: with random weights.
        experts: those that will read the caches.
        cut: write vocabulary and cache of an expert that has some of the tokens, too.
    """
    for name in ("tokenizer", "blocks/train", "blocks/validation", "teacher"):
        (root / name).mkdir(parents=True)
    _tokenizer(size).save(str(root / "tokenizer" / "tokenizer.json"))
    context = _write_blocks(root / "blocks", size, blocks)
    write_model(build_model(teacher, size, context, seed=2), root / "tokenizer", root / "teacher", {})
    inputs = {"blocks": root / "blocks", "teacher": root / "teacher"}
    for kind in ("hidden_cache", "sampled_cache"):
        _write_cache(root / kind, kind, experts, inputs)
    if cut and experts.vocabulary:
        (root / "vocabulary").mkdir()
        stage = VocabularyStage(language=LANGUAGE, vocabulary=experts.vocabulary)
        data = {"blocks": root / "blocks", "tokenizer": root / "tokenizer"}
        stage.run(data, root / "vocabulary", Environment(work=root / "vocabulary.work"))
        _write_cache(root / CUT, "hidden_cache", experts, {**inputs, f"vocabulary-{LANGUAGE}": root / "vocabulary"})


def _write_cache(out: Path, kind: str, experts: ExpertsConfig, inputs: Mapping[str, Path]) -> None:
    out.mkdir()
    training = experts.training
    drawn = Draw.of(training, SEED)
    teacher = PluginSpec(type=kind)
    stage = CacheStage(language=LANGUAGE, teacher=teacher, precision=training.precision, seed=SEED, drawn=drawn)
    stage.run(inputs, out, Environment(work=out.with_suffix(".work")))


def _write_blocks(folder: Path, size: int, blocks: int, context: int = 128) -> int:
    shares = 1 / np.arange(1, size - 2)
    tokens, dtype = blocks * context + 1, "uint16" if size <= 2**16 else "uint32"
    ids = 3 + np.random.default_rng(SEED).choice(len(shares), tokens, p=shares / shares.sum())
    for split in ("train", "validation"):
        ids.astype(dtype).tofile(folder / split / f"{LANGUAGE}.bin")
    counts = {"documents": 1, "tokens": tokens, "characters": tokens, "bytes": tokens, "blocks": blocks}
    about: dict[str, Any] = {"context": context, "dtype": dtype, "vocab_size": size, "languages": [LANGUAGE]}
    splits = {split: {LANGUAGE: counts} for split in ("train", "validation")}
    write_json(folder / "blocks.json", {**about, "splits": splits})
    return context


def _tokenizer(size: int) -> Tokenizer:
    """Byte-pair encoding of bytes, pairs of them, and pairs with one byte more, until there are `size` tokens."""
    names = itertools.chain(("<unk>", "<s>", "</s>"), sorted(pre_tokenizers.ByteLevel.alphabet()))
    vocabulary = {name: number for number, name in enumerate(names)}
    merges = list(itertools.islice(_merges(), size - len(vocabulary)))
    for merge in merges:
        vocabulary["".join(merge)] = len(vocabulary)
    found = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>"))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    return found


def _merges() -> Iterator[tuple[str, str]]:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    yield from itertools.product(letters, repeat=2)
    yield from (("".join(pair), last) for *pair, last in itertools.product(letters, repeat=3))
