"""The distillation loss from hidden states beside dense torch and, on a GPU, beside Liger kernel."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import torch

from benchmarks._loss import WAYS, Problem, Sizes, dense, peak_on_gpu
from benchmarks._rows import Row, compare, in_turn, notice, single

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Loss:
    """Cross-entropy and reverse KL at 0.5 each, forward and backward: time, peak memory and error of the gradients.

    In `bf16` hidden states, heads and matrix products are bf16 and softmaxes fp32, in the dense implementation too.
    Memory is what a call needs at its peak beyond the gradients it returns, in a process of its own on the CPU (which
    takes Linux). Errors are relative to autograd in float64, over fewer tokens. Threads are torch's default
    (OMP_NUM_THREADS sets them).
    """

    tokens: int = 4096
    vocab: int = 32_000
    student: int = 768
    teacher: int = 1024
    check_tokens: int = 256
    repeats: int = 5
    gpu_tokens: int = 8192
    gpu_vocab: int = 128_256
    gpu_student: int = 2048
    gpu_teacher: int = 4096

    def rows(self) -> Iterator[Row]:
        """The CPU's rows, then the GPU's where there is one."""
        sizes = Sizes(self.tokens, self.vocab, self.student, self.teacher)
        peaks = _peaks(sizes)
        for name, dtype in TYPES.items():
            case = f"CPU, {name}, beside dense torch"
            problem = Problem.draw(sizes, dtype)
            seconds = in_turn({way: partial(WAYS[way], problem) for way in ("ours", "dense")}, self.repeats)
            yield compare(case, "time", "s", seconds["ours"], seconds["dense"])
            del problem
            if peaks:
                yield single(case, "peak memory", "MB", peaks[name, "ours"], peaks[name, "dense"])
            yield from self._errors(case, dtype)
        if torch.cuda.is_available():
            yield from self._on_gpu()

    def _errors(self, case: str, dtype: torch.dtype) -> Iterator[Row]:
        problem = Problem.draw(Sizes(self.check_tokens, self.vocab, self.student, self.teacher), dtype)
        exact = dense(problem.to(torch.float64))
        found = {way: WAYS[way](problem) for way in ("ours", "dense")}
        for index, name in enumerate(("hidden states", "head")):
            errors = (float((found[way][index] - exact[index]).norm() / exact[index].norm()) for way in found)
            yield single(case, f"gradient error, {name}", "relative", *errors)

    def _on_gpu(self) -> Iterator[Row]:
        sizes = Sizes(self.gpu_tokens, self.gpu_vocab, self.gpu_student, self.gpu_teacher)
        problem = Problem.draw(sizes, torch.bfloat16, "cuda")
        for other, name in (("dense", "dense torch"), ("liger", "Liger kernel")):
            case = f"GPU, bf16, {sizes.tokens} × {sizes.vocab}, beside {name}"
            try:
                seconds = in_turn({way: partial(_and_wait, way, problem) for way in ("ours", other)}, self.repeats)
                peaks = [peak_on_gpu(way, problem) for way in ("ours", other)]
            except ImportError:
                notice("Liger kernel is not installed: pip install liger-kernel")
                continue
            except torch.OutOfMemoryError:
                notice(f"{name} does not fit this GPU's memory")
                continue
            yield compare(case, "time", "ms", *([1e3 * each for each in seconds[way]] for way in ("ours", other)))
            yield single(case, "peak memory", "MB", *peaks)


def _and_wait(way: str, problem: Problem) -> None:
    WAYS[way](problem)
    torch.cuda.synchronize()


def _peaks(sizes: Sizes) -> dict[tuple[str, str], float]:
    """Megabytes on the CPU by type and way; empty where the kernel does not count them."""
    if not Path("/proc/self/clear_refs").exists():
        return {}
    ways, kinds = ("ours", "dense"), [str(dtype).removeprefix("torch.") for dtype in TYPES.values()]
    numbers = (sizes.tokens, sizes.vocab, sizes.student, sizes.teacher, torch.get_num_threads())
    command = [sys.executable, "-m", "benchmarks._loss", ",".join(ways), ",".join(kinds), *map(str, numbers)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    keys = list(product(TYPES, ways))
    return dict(zip(keys, map(float, printed[-len(keys) :]), strict=True))
