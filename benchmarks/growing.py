"""What grows with what: CPU seconds and memory against tokens of text, tokens of the vocabulary, and experts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._distill_job import gpt2
from benchmarks._growing_inputs import CUT
from benchmarks._rows import Row, single
from orchestrator.errors import ResourceError

MILLION = 10**6
CHARACTERS = 2.44
"""Of a token of the generated text, about; how many tokens there really are is measured."""
KINDS = ("hidden_cache", "sampled_cache")
Points = dict[str, list[tuple[float, ...]]]
"""By what was measured: size, then the figures of :data:`METRICS`."""
METRICS = (("CPU time", "s"), ("memory", "MB"), ("memory without files", "MB"))


@dataclass(frozen=True)
class Growing:
    """CPU seconds and peak memory of MoME's own steps, in a new process for each size, with one thread; their slopes.

    Tokens: one language of generated text from the corpus to an expert that has trained on all of it once; the teacher
    is trained on few tokens. Vocabulary: the training of an expert on equally many tokens from caches that are there,
    and how large it is. Experts: a whole run with so many languages of equal text, until its evaluation. A figure is
    beside that of the smallest size. A slope is by least squares, beside the largest size's cost for each of its units:
    1 is nothing but growth. An exponent is the slope of the logarithms: 1 is linear.
    """

    tokens: tuple[int, ...] = (MILLION, 4 * MILLION, 16 * MILLION)
    vocabularies: tuple[int, ...] = (4_000, 32_000, 152_000)
    experts: tuple[int, ...] = (1, 4, 16)
    text_vocab: int = 512
    teacher_tokens: int = 65_536
    trained: int = 8192
    """Tokens that an expert trains on, for each vocabulary."""
    keep: float = 0.99
    """Share of the text's tokens that an expert with a cut vocabulary keeps, at the largest one."""
    language_tokens: int = 100_000
    """Of each language, where experts are counted."""
    batch: int = 8192
    """Tokens of an optimizer step."""
    parts: tuple[str, ...] = ("tokens", "vocabulary", "experts")
    """What is measured."""

    def rows(self) -> Iterator[Row]:
        """Figures of each size, then slopes and exponents, of tokens, vocabulary and experts.

        Raises:
            ResourceError: a process failed.
        """
        with tempfile.TemporaryDirectory(prefix="mome-bench-") as folder:
            root = Path(folder)
            parts = {
                "tokens": partial(self._of_runs, root, "tokens", "a further million", MILLION),
                "vocabulary": partial(self._of_vocabularies, root),
                "experts": partial(self._of_runs, root, "experts", "a further one", 1),
            }
            for part in self.parts:
                yield from parts[part]()

    def _of_runs(self, root: Path, what: str, further: str, unit: int) -> Iterator[Row]:
        points: Points = {}
        for size in getattr(self, what):
            with tempfile.TemporaryDirectory(dir=root) as folder:
                languages, tokens = (1, size) if what == "tokens" else (size, self.language_tokens)
                until = ["expert-l0"] if what == "tokens" else ["evaluation"]
                recipe = self._recipe(folder, languages, whole_teacher=what == "experts")
                text = int(CHARACTERS * tokens)
                found = job({"do": "run", "folder": folder, "characters": text, "recipe": recipe, "until": until})
            at = found["tokens"] / unit if what == "tokens" else size
            for step, used in found["steps"].items():
                points.setdefault(step, []).append(point(at, used))
                yield from figures(f"{what}, {size:,}: {step}", points[step])
        for step, of_step in points.items():
            yield from slopes(f"{what}: {step}", further, of_step)

    def _of_vocabularies(self, root: Path) -> Iterator[Row]:
        points, sizes = Points(), dict[str, list[float]]()
        teacher = gpt2(2, 192, 4)
        for size in self.vocabularies:
            last = size == max(self.vocabularies)
            with tempfile.TemporaryDirectory(dir=root) as folder:
                shared = {"folder": folder, "teacher": teacher, "size": size, "blocks": 8 * self.trained // 128}
                job({"do": "inputs", "cut": last, "experts": self._experts("hidden_cache", cut=True), **shared})
                for kind in (*KINDS, *((CUT,) if last else ())):
                    experts = self._experts(kind.partition(",")[0], cut=kind == CUT)
                    used = job({"do": "expert", "folder": folder, "kind": kind, "experts": experts})
                    of_kind, of_size = points.setdefault(kind, []), sizes.setdefault(kind, [])
                    of_kind.append(point(size / 1000, used))
                    of_size.append(used["size"] / MILLION)
                    case = f"vocabulary, {size:,}: {kind}"
                    yield from figures(case, of_kind if kind != CUT else [points[KINDS[0]][-1], *of_kind])
                    beside = of_size[0] if kind != CUT else sizes[KINDS[0]][-1]
                    yield single(case, "size of the expert", "MB", of_size[-1], beside)
        for kind in KINDS:
            yield from slopes(f"vocabulary: {kind}", "a further thousand", points[kind])

    def _recipe(self, folder: str, languages: int, whole_teacher: bool) -> dict[str, Any]:
        training = self._training({"epochs": 1})
        names = [f"l{number}" for number in range(languages)]
        sources = {name: {"source": {"type": "files", "path": f"{folder}/{name}.jsonl"}} for name in names}
        return {
            "name": "growing",
            "corpus": {"languages": sources},
            "tokenizer": {"vocab_size": self.text_vocab, "max_characters_per_language": 2 * MILLION},
            "blocks": {"context": 128},
            "teacher": {
                "model": gpt2(1, 32, 2),
                "training": training if whole_teacher else self._training({"tokens": self.teacher_tokens}),
            },
            "experts": {
                "model": gpt2(1, 32, 2),
                "training": training,
                "distillation": {"teacher": "hidden_cache", "soft": "forward_kl"},
            },
            "resources": {"device": "cpu", "threads": 1, "cpus": 1},
            "tracking": {"type": "none"},
        }

    def _experts(self, cache: str, cut: bool) -> dict[str, Any]:
        return {
            "model": gpt2(2, 128, 4),
            "training": self._training(
                {"tokens": self.trained, "batch_tokens": self.trained // 4, "micro_batch": min(8, self.trained // 512)}
            ),
            "distillation": {"teacher": cache, "soft": "forward_kl", "cache": "drawn"},
            "vocabulary": {"keep": self.keep} if cut else None,
        }

    def _training(self, own: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "batch_tokens": self.batch,
            "micro_batch": min(64, self.batch // 128),
            "optimizer": {"type": "adamw", "lr": 1e-3},
            "eval_blocks": 8,
            **own,
        }


def point(size: float, used: Mapping[str, float]) -> tuple[float, ...]:
    """A size with the figures that a process gave."""
    return size, used["cpu"], used["peak"] / MILLION, used["own"] / MILLION


def figures(case: str, points: Sequence[tuple[float, ...]]) -> Iterator[Row]:
    """CPU time and memory of the last point beside the first."""
    for (metric, unit), last, first in zip(METRICS, points[-1][1:], points[0][1:], strict=True):
        yield single(case, metric, unit, last, first)


def slopes(case: str, further: str, points: Sequence[tuple[float, ...]]) -> Iterator[Row]:
    """What a further unit takes, and the exponents of power laws; nothing of a single point."""
    if len(points) < 2:
        return
    sizes, *measured = np.array(points).T
    for (metric, unit), values in zip(METRICS, measured, strict=True):
        slope = float(np.polyfit(sizes, values, 1)[0])
        yield single(f"{case}, {further}", metric, unit, slope, float(values[-1] / sizes[-1]))
        exponent = float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
        yield single(f"{case}, exponent", metric, "", exponent, 1.0)


def job(what: Mapping[str, Any]) -> Any:
    """What a process prints that does a part of the work, with one thread.

    Raises:
        ResourceError: it failed.
    """
    root = Path(__file__).resolve().parents[1]
    path = os.pathsep.join((str(root), os.environ.get("PYTHONPATH", "")))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks._growing_job", json.dumps(what)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise ResourceError(f"a process of the bench failed: {done.stderr.strip()[-2000:]}", "bench growing")
    return json.loads(done.stdout.splitlines()[-1])
