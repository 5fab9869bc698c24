"""Memory and time of the steps that read text, as the number of documents grows."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from benchmarks._rows import Row, single

MILLION = 10**6
DOCUMENT_BYTES = 200
"""Goal: memory that a further document takes of the step's own process, at most."""


@dataclass(frozen=True)
class Corpus:
    """One language of generated documents: corpus, tokens and blocks as the stages run, each in a process of its own.

    Nothing is read twice into memory: what grows are hashes, and pairs of near-duplicates.
    """

    documents: tuple[int, ...] = (100_000, 300_000, MILLION)
    """Sizes that run for real."""
    simulated: int = 10 * MILLION
    """Documents whose hashes alone are made, and then decided on as the corpus step does."""
    words: Annotated[int, Field(ge=5)] = 30
    """Of a document; one in twenty repeats another, half of them with a word changed."""
    vocab_size: int = 8192
    workers: int = 2

    def rows(self) -> Iterator[Row]:
        """Seconds and memory of each size; memory of a further document beside the goal; the simulated size."""
        with tempfile.TemporaryDirectory(prefix="mome-bench-") as folder:
            root = Path(folder)
            peaks: dict[str, list[float]] = {}
            for count in self.documents:
                text = root / f"{count}.jsonl"
                write_documents(text, count, self.words)
                for step, found in self._measured(root / str(count), text).items():
                    peaks.setdefault(step, []).append(found["peak"])
                    yield single(f"{step}, {count:,} documents", "speed", "documents/s", count / found["seconds"], 1.0)
                    yield single(f"{step}, {count:,} documents", "memory", "MB", found["peak"] / 1e6, 1.0)
                text.unlink()
            for step, found_peaks in peaks.items():
                slope = float(np.polyfit(self.documents, found_peaks, 1)[0]) if len(found_peaks) > 1 else 0.0
                yield single(f"{step}, a further document", "memory", "bytes", max(slope, 0.0), DOCUMENT_BYTES)
            simulated = self._job(root, {"simulate": self.simulated})
            case = f"deciding on {self.simulated:,} documents"
            yield single(case, "time", "s", simulated["seconds"], 1.0)
            yield single(case, "memory", "MB", simulated["peak"] / 1e6, self.simulated * DOCUMENT_BYTES / 1e6)

    def _measured(self, folder: Path, text: Path) -> dict[str, dict[str, float]]:
        folder.mkdir()
        steps = ("corpus", "tokenizer", "tokens", "blocks")
        job = {"text": str(text), "folder": str(folder), "workers": self.workers, "vocab_size": self.vocab_size}
        found = {step: self._job(folder, {"step": step, **job}) for step in steps}
        del found["tokenizer"]  # it reads a share of the text that is set in the recipe
        return found

    def _job(self, folder: Path, job: dict[str, object]) -> dict[str, float]:
        command = [sys.executable, "-m", "benchmarks._corpus_job", json.dumps({**job, "scratch": str(folder)})]
        root = Path(__file__).resolve().parents[1]
        done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found


def write_documents(path: Path, count: int, words: int) -> None:
    """Write a JSON Lines file of documents, some of which repeat an earlier one."""
    draw = random.Random(15)
    vocabulary = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(20_000)]
    last = draw.choices(vocabulary, k=words)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            text = draw.choices(vocabulary, k=words)
            if number % 20 == 0:
                text = list(last)
                if number % 40 == 0:
                    text[draw.randrange(words)] = "another"
            last = text
            file.write(json.dumps({"id": str(number), "text": " ".join(text)}) + "\n")
