"""What a tiny expert makes of text that it has not seen, in each language: all learn from as many bytes of text."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._rows import Row, notice, single
from orchestrator import Run, run
from orchestrator.config.recipe import Recipe
from orchestrator.evaluation.evaluated import block_bytes, works_of
from orchestrator.evaluation.perplexity import block_losses
from orchestrator.evaluation.statistics import percentile_interval, resampled_means
from orchestrator.models import load_model
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.tokenizer import byte_lengths, load_tokenizer
from orchestrator.works import independent

_MESSAGES = 10
"""Messages that make a document."""
_HELD_OUT = 0.1
"""Share of the training text that says when an expert is at its best."""
_BYTES = 259
"""Tokens: three special ones and the bytes, so that no language has tokens made for it."""
_SPLITS = ("train", "validation", "test")
_CONFIDENCE, _RESAMPLES = 0.95, 1000


@dataclass(frozen=True)
class Bits:
    """Experts of 2 × 128 that read bytes, by cross-entropy alone, on messages of catalogues in documents of ten."""

    train: Mapping[str, Sequence[str]]
    test: Mapping[str, Sequence[str]]
    tokens: int
    """That each expert is trained on."""
    work: Path

    def rows(self) -> Iterator[Row]:
        """For each language: bits per byte beside xz, which has read the same text before, an interval, and bits per
        character.
        """
        texts = {name: self._documents(name) for name in self.train}
        sizes = {split: min(_size(each[split]) for each in texts.values()) for split in _SPLITS}
        for of_language in texts.values():
            for split, size in sizes.items():
                of_language[split] = _cut(of_language[split], size)
        notice(f"experts of {len(texts)} languages learn from {sizes['train']:,} bytes of text each, as bytes")
        made = self._run(texts)
        for language, of_language in texts.items():
            losses_N, bytes_N, works_N = _measured(made, language)
            bits = float(losses_N.sum() / np.log(2) / bytes_N.sum())
            case, text = f"{language}: an expert of 2 × 128", "\n".join(of_language["test"])
            yield single(f"{case}, beside xz", "bits per byte", "", bits, _bits_of_xz(of_language))
            low, high = _interval(losses_N, bytes_N, works_N)
            yield single(f"{case}, interval over documents", "bits per byte, low and high", "", low, high)
            width = len(text.encode()) / len(text)
            yield single(f"{case}, beside bytes a character", "bits per character", "", bits * width, width)

    def _documents(self, language: str) -> dict[str, list[str]]:
        """Documents of a language by split, in an order of their own."""
        rng, found = np.random.default_rng(11), dict[str, list[str]]()
        for split, messages in (("train", self.train[language]), ("test", self.test[language])):
            order = rng.permutation(len(messages)).tolist()
            parts = (order[start : start + _MESSAGES] for start in range(0, len(order), _MESSAGES))
            found[split] = ["\n".join(messages[number] for number in part) for part in parts]
        first = max(1, round(_HELD_OUT * len(found["train"])))
        return {"train": found["train"][first:], "validation": found["train"][:first], "test": found["test"]}

    def _run(self, texts: Mapping[str, Mapping[str, Sequence[str]]]) -> Run:
        for language, of_language in texts.items():
            for split, documents in of_language.items():
                lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in documents)
                (self.work / f"{language}.{split}.jsonl").write_text("".join(lines), encoding="utf-8")
        until = [f"expert-{language}" for language in texts]
        return run(_recipe(texts, self.tokens, self.work), runs=self.work, until=until, local=True, quiet=True)


def _recipe(languages: Mapping[str, Any], tokens: int, work: Path) -> Recipe:
    def source(split: str) -> dict[str, str]:
        return {"type": "files", "path": f"{work}/{{language}}.{split}.jsonl"}

    entry = {"source": source("train"), "validation": source("validation"), "test": source("test")}
    training: dict[str, Any] = {
        "tokens": tokens,
        "batch_tokens": 1024,
        "micro_batch": 8,
        "eval_every": 20,
        "eval_blocks": 32,
    }
    training |= {"optimizer": {"type": "muon", "lr": 8e-3}, "checkpoint_every": 1000, "precision": "fp32"}
    return Recipe.model_validate(
        {
            "name": "languages-bits",
            "corpus": {"languages": dict.fromkeys(languages, entry), "min_characters": 0},
            "tokenizer": {"vocab_size": _BYTES},
            "blocks": {"context": 128},
            "teacher": {"model": "gpt2-nano"},  # which is not needed
            "experts": {
                "model": {"type": "gpt2", "layers": 2, "width": 128, "heads": 4},
                "training": training,
                "distillation": {"soft": None},
            },
            "resources": {"slots": 1, "threads": 1, "cpus": 1},
            "tracking": {"type": "none"},
        }
    )


def _measured(made: Run, language: str) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Nats, bytes and document of each block of test text, [N] each."""
    folders = {name: made.artifacts[name].folder for name in ("blocks", "tokenizer", f"expert-{language}")}
    blocks = TokenBlocks.open(folders["blocks"], "test")
    count, model = blocks.count(language), load_model(folders[f"expert-{language}"] / "model")
    lengths = byte_lengths(load_tokenizer(folders["tokenizer"]))
    losses_N = block_losses(model, blocks, language, count)
    return losses_N, block_bytes(blocks, language, count, lengths), works_of(blocks, language, count)


def _interval(
    losses_N: NDArray[np.float64], bytes_N: NDArray[np.int64], works_N: NDArray[np.int64]
) -> tuple[float, float]:
    """Of bits per byte; not numbers where documents are too few."""
    draws = resampled_means(np.stack([losses_N, bytes_N], axis=1), works_N, _RESAMPLES, 0)
    bits = draws[:, 0] / np.log(2) / draws[:, 1]
    return percentile_interval(bits, _CONFIDENCE, independent(works_N)) or (float("nan"), float("nan"))


def _bits_of_xz(texts: Mapping[str, Sequence[str]]) -> float:
    """What the test text adds to the training text, compressed, in bits for each byte of it."""
    before, after = ("\n".join(texts[split]).encode() for split in ("train", "test"))
    sizes = [len(lzma.compress(each, preset=9 | lzma.PRESET_EXTREME)) for each in (before, before + b"\n" + after)]
    return 8 * (sizes[1] - sizes[0]) / len(after)


def _size(documents: Sequence[str]) -> int:
    return sum(len(text.encode()) for text in documents)


def _cut(documents: Sequence[str], size: int) -> list[str]:
    """The first documents, of at most so many bytes together, and one at least."""
    ends = np.cumsum([len(text.encode()) for text in documents])
    return list(documents[: max(1, int(np.searchsorted(ends, size, side="right")))])
