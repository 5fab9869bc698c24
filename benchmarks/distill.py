"""Our distillation step beside a Hugging Face Trainer with dense losses, and beside TRL's GKDTrainer."""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks._distill_inputs import write_inputs
from benchmarks._distill_job import Job, Outcome, Precision, Teacher, Way, gpt2
from benchmarks._rows import Row, compare, notice, single
from benchmarks.to_loss import ToLoss
from orchestrator.errors import ResourceError

BASELINES: dict[Way, tuple[str, str, float]] = {
    "trainer": ("accelerate", "a Hugging Face Trainer with dense losses", 0.5),
    "trl": ("trl", "TRL's GKDTrainer", 0.0),
}
"""The package they need, what they are called, and the weight of cross-entropy beside reverse KL: TRL has none."""
OURS: dict[str, tuple[Teacher, float, bool]] = {
    "live": ("live", 1.0, False),
    "hidden_cache": ("hidden_cache", 1.0, False),
    "hidden_cache, a quarter of the positions": ("hidden_cache", 0.25, False),
    "hidden_cache, a quarter by entropy": ("hidden_cache", 0.25, True),
    "sampled_cache": ("sampled_cache", 1.0, False),
}
"""Our teachers, the share of the positions with the soft loss, and whether these are chosen by entropy."""
EXACT = ("live", "hidden_cache")
"""Those whose loss is the baselines'."""
ALONE = "none"


@dataclass(frozen=True)
class Distill:
    """Tokens a second and the final loss of a step with reverse KL, the teacher live and cached, each in a new process.

    Same initial student, untrained teacher, random blocks in the same order, AdamW, clipping, precision and threads
    (torch's default; OMP_NUM_THREADS sets them). Beside the Trainer the loss is CE and reverse KL at 0.5 each, beside
    TRL reverse KL alone: GKDTrainer at lmbda 0 and beta 1 is that, from transformers' dense logits. With samples of the
    teacher the divergence is forward KL, so that loss compares with no other. Our caches of the teacher are written
    before, and not in the figures. CPU time is that of a step, on all cores. Then: ours beside training by
    cross-entropy alone, and where our own time goes.
    """

    vocab: int = 32_000
    context: int = 256
    student_layers: int = 3
    student_width: int = 256
    student_heads: int = 4
    teacher_layers: int = 12
    teacher_width: int = 640
    teacher_heads: int = 10
    batch: int = 4
    steps: int = 6
    warmup: int = 2
    repeats: int = 2
    precisions: tuple[Precision, ...] = ("bf16", "fp32")
    to_loss: bool = False
    """Run `mome bench to_loss` instead: time to a loss."""

    def rows(self) -> Iterator[Row]:
        """Each precision against each baseline that is installed, and the shares of our step.

        Raises:
            ResourceError: none is, or one fails.
        """
        if self.to_loss:
            yield from ToLoss().rows()
            return
        missing = [package for package, *_ in BASELINES.values() if importlib.util.find_spec(package) is None]
        install = "pip install 'mome-orchestrator[bench]'"
        if len(missing) == len(BASELINES):
            raise ResourceError("there is nothing to compare with: accelerate and trl are not installed", fix=install)
        for package in missing:
            notice(f"{package} is not installed, the rows beside it are left out: {install}")
        with tempfile.TemporaryDirectory() as folder:
            teacher = gpt2(self.teacher_layers, self.teacher_width, self.teacher_heads)
            write_inputs(Path(folder), teacher, self.vocab, self.context, self.batch * self.steps)
            for precision in self.precisions:
                for baseline, (package, name, alpha) in BASELINES.items():
                    if package not in missing:
                        yield from self._compare(folder, precision, baseline, name, alpha)

    def _compare(self, folder: str, precision: Precision, baseline: Way, name: str, alpha: float) -> Iterator[Row]:
        def run(way: Way, ours: str = "live", shares: bool = False) -> Outcome:
            student = gpt2(self.student_layers, self.student_width, self.student_heads)
            threads, (teacher, share, by) = torch.get_num_threads(), OURS.get(ours, ("none", 1.0, False))
            sizes = (student, self.batch, self.steps, threads)
            return Job(way, teacher, precision, alpha, folder, *sizes, shares, share, by).run()

        found: dict[str, list[Outcome]] = defaultdict(list)
        beside_trainer = baseline == "trainer"
        for repeat in range(self.repeats):
            found[baseline].append(run(baseline))
            for ours in (*OURS, *((ALONE,) if beside_trainer else ())):
                found[ours].append(run("ours", ours, shares=repeat == 0 and beside_trainer and ours in OURS))
        for ours in OURS:
            yield from self._rows(f"{precision}, {ours}, beside {name}", found[ours], found[baseline])
            if ours in EXACT:
                sides = ([each.losses[-1] for each in found[side]] for side in (ours, baseline))
                yield compare(f"{precision}, {ours}, beside {name}", "final loss", "nat", *sides)
        for ours in OURS if beside_trainer else ():
            yield from self._rows(f"{precision}, {ours}, beside cross-entropy alone", found[ours], found[ALONE])
        for ours in OURS:
            for part, share in found[ours][0].shares.items():
                yield single(f"{precision}, {ours}, ours: {part}", "share of step time", "", share, 1.0)

    def _rows(self, case: str, ours: list[Outcome], theirs: list[Outcome]) -> Iterator[Row]:
        yield compare(case, "speed", "tokens/s", *(list(map(self._speed, side)) for side in (ours, theirs)))
        times = ([statistics.median(each.cpu_seconds[self.warmup :]) for each in side] for side in (ours, theirs))
        yield compare(case, "CPU time", "s", *times)

    def _speed(self, outcome: Outcome) -> float:
        return self.batch * self.context / statistics.median(outcome.seconds[self.warmup :])
