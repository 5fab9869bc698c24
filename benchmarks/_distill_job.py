"""What a contender of `mome bench distill` is to train, and what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.config.base import PluginSpec
from orchestrator.errors import ResourceError
from orchestrator.models import build_model
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.training.optimizers.adamw import AdamW

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Way = Literal["ours", "trainer", "trl", "distillkit"]
Teacher = Literal["live", "hidden_cache", "sampled_cache", "none"]
Precision = Literal["bf16", "fp32"]
LANGUAGE = "en"
OPTIMIZER = AdamW(lr=1e-3)
"""Of every contender, at a constant learning rate."""


@dataclass(frozen=True)
class Job:
    """What to train.

    Attributes:
        way: "ours", a Hugging Face "trainer" with dense losses, "trl", or "distillkit" (`to_loss` alone has it).
        teacher: the others' is always live; "none": cross-entropy alone.
        alpha: weight of cross-entropy, the rest is reverse KL's, or with samples of the teacher forward KL's.
        folder: written by `_distill_inputs`.
        shares: measure where our time goes, too.
        positions: share of them that our soft loss is computed at.
        by_entropy: they are those where the student is least certain.
    """

    way: Way
    teacher: Teacher
    precision: Precision
    alpha: float
    folder: str
    student: dict[str, Any]
    batch: int
    steps: int
    threads: int
    shares: bool = False
    positions: float = 1.0
    by_entropy: bool = False

    def run(self) -> Outcome:
        """Train in a new process.

        Raises:
            ResourceError: it failed.
        """
        command = [sys.executable, "-m", "benchmarks._distill", json.dumps(asdict(self))]
        path = os.pathsep.join((str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")))
        environment = {**os.environ, "PYTHONPATH": path}
        ended = subprocess.run(command, capture_output=True, text=True, env=environment)
        if ended.returncode:
            raise ResourceError(f"the contender {self.way!r} failed: {ended.stderr.strip()[-2000:]}", "bench distill")
        return Outcome(**json.loads(ended.stdout.splitlines()[-1]))

    @property
    def blocks(self) -> TokenBlocks:
        """The blocks, as many as all steps take."""
        return TokenBlocks.open(Path(self.folder) / "blocks", "train")

    def new_student(self) -> PreTrainedModel:
        """The same student for every contender, with room for the label that TRL wants in its input."""
        model = build_model(PluginSpec(**self.student), self.blocks.vocab_size, self.blocks.context + 1, seed=1)
        return model.train()


@dataclass(frozen=True)
class Outcome:
    """Seconds, those of the process on all cores, and mean loss of each step, and shares of a step's time by part."""

    seconds: list[float]
    cpu_seconds: list[float]
    losses: list[float]
    shares: dict[str, float] = field(default_factory=dict)


def gpt2(layers: int, width: int, heads: int) -> dict[str, Any]:
    """The specification of a model of a contender."""
    return {"type": "gpt2", "layers": layers, "width": width, "heads": heads}
