"""Distillation from cached hidden states beside the live teacher, at the paper's sizes."""

from __future__ import annotations

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks._distill_inputs import write_inputs
from benchmarks._distill_job import Job, Outcome, Precision, Teacher, gpt2
from benchmarks._rows import Row, compare, single
from orchestrator.config.base import PluginSpec
from orchestrator.models import build_model, head


@dataclass(frozen=True)
class Cache:
    """Tokens a second and losses of a step with CE and reverse KL, each repeat of each teacher in a new process.

    GPT-2 Medium and the paper's 3 × 768 student, untrained, on random blocks. The cache is written before, and not in
    the figures: it costs one forward pass of the teacher over the data, whatever is trained on it.
    """

    vocab: int = 32_000
    context: int = 256
    student_layers: int = 3
    student_width: int = 768
    student_heads: int = 6
    teacher_layers: int = 24
    teacher_width: int = 1024
    teacher_heads: int = 16
    batch: int = 4
    steps: int = 6
    warmup: int = 2
    repeats: int = 2
    precisions: tuple[Precision, ...] = ("fp32", "bf16")

    def rows(self) -> Iterator[Row]:
        """For each precision: speed, final loss, and where the time of a step goes; then what FLOPs alone would give.

        Raises:
            ResourceError: a contender fails.
        """
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(Path(folder), self._teacher, self.vocab, self.context, self.batch * self.steps)
            for precision in self.precisions:
                yield from self._compare(folder, precision)
        live, cached = self._flops()
        yield single("FLOPs a token, hidden_cache, beside live", "work", "FLOP", cached, live)

    def _compare(self, folder: str, precision: Precision) -> Iterator[Row]:
        found: dict[Teacher, list[Outcome]] = defaultdict(list)
        teachers: tuple[Teacher, ...] = ("live", "hidden_cache")
        for repeat in range(self.repeats):
            for teacher in teachers:
                threads = torch.get_num_threads()
                job = Job(
                    "ours", teacher, precision, 0.5, folder, self._student, self.batch, self.steps, threads, not repeat
                )
                found[teacher].append(job.run())
        live, cached = found["live"], found["hidden_cache"]
        case = f"{precision}, hidden_cache, beside live"
        yield compare(case, "speed", "tokens/s", *([self._speed(each) for each in side] for side in (cached, live)))
        yield compare(case, "final loss", "nat", *([each.losses[-1] for each in side] for side in (cached, live)))
        for teacher in teachers:
            for part, share in found[teacher][0].shares.items():
                yield single(f"{precision}, {teacher}: {part}", "share of step time", "", share, 1.0)

    def _speed(self, outcome: Outcome) -> float:
        return self.batch * self.context / statistics.median(outcome.seconds[self.warmup :])

    def _flops(self) -> tuple[float, float]:
        """FLOPs of a token's step, live and cached: 2 a parameter forwards, 6 with gradients; attention not counted."""
        student, _ = self._sizes(self._student)
        teacher, teacher_head = self._sizes(self._teacher)
        return 6.0 * student + 2.0 * teacher, 6.0 * student + 2.0 * teacher_head

    def _sizes(self, spec: dict[str, Any]) -> tuple[int, int]:
        """Parameters in matrix products (a tied head's counted once), and those of the head."""
        model = build_model(PluginSpec(**spec), self.vocab, self.context, 0, "meta")
        return sum(parameter.numel() for parameter in model.parameters()), head(model).weight.numel()

    @property
    def _student(self) -> dict[str, Any]:
        return gpt2(self.student_layers, self.student_width, self.student_heads)

    @property
    def _teacher(self) -> dict[str, Any]:
        return gpt2(self.teacher_layers, self.teacher_width, self.teacher_heads)
