"""A sweep as one types it beside the bare times of its trainings."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks._rows import Row, compare
from orchestrator.artifacts import Store
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.pipeline.execute import execute
from orchestrator.pipeline.local import LocalRunner
from orchestrator.pipeline.plan import make_plan
from orchestrator.sweeps.run import read_sweep
from orchestrator.sweeps.trials import read_facts

GOAL_FACTOR, GOAL_SECONDS = 1.25, 20.0


@dataclass(frozen=True)
class Sweep:
    """Trials of the quickstart's experts over one teacher that is there already, cached hidden states included.

    The bare time is the sum of the seconds in the training loops divided by the trials at a time.
    """

    rates: tuple[float, ...] = (1e-3, 2e-3, 3e-3)
    seeds: int = 2
    slots: int = 2
    tokens: int = 100_000
    teacher_tokens: int = 20_000
    repeats: int = 3

    def rows(self) -> Iterator[Row]:
        """Wall time of the whole command beside the bare time, and its seconds beyond 1.25 x bare beside the goal."""
        ours, bare = [], []
        with tempfile.TemporaryDirectory() as folder:
            for repeat in range(self.repeats):
                file = self._write(Path(folder), repeat)
                if repeat == 0:
                    _make_upstream(file)
                ours.append(_seconds(file))
                trainings = (file.parent / file.stem / "stages").glob("expert-*/*")
                bare.append(sum(read_facts(training)["seconds"] for training in trainings) / self.slots)
        case = f"{len(self.rates) * self.seeds} trials, {self.slots} at a time"
        yield compare(f"{case}, beside bare training", "wall time", "s", ours, bare)
        beyond = [whole - GOAL_FACTOR * part for whole, part in zip(ours, bare, strict=True)]
        spread = (max(beyond) - min(beyond)) / GOAL_SECONDS
        what = f"{case}, beyond {GOAL_FACTOR} x bare, beside the goal"
        yield Row(what, "wall time", "s", statistics.median(beyond), GOAL_SECONDS, spread)

    def _write(self, folder: Path, repeat: int) -> Path:
        """The sweep's file; every repeat has seeds of its own, so that none finds its trials done."""
        tree: dict[str, Any] = {
            "name": f"sweep-{repeat}",
            "base": str(Path(__file__).resolve().parents[1] / "jobs" / "recipes" / "quickstart.yaml"),
            "overrides": {
                "teacher.training.tokens": self.teacher_tokens,
                "experts.training.tokens": self.tokens,
                "experts.distillation.teacher": "hidden_cache",
                "resources": {"slots": self.slots, "cpus": self.slots, "device": "cpu"},
            },
            "grid": {"experts.training.optimizer.lr": list(self.rates)},
            "seeds": list(range(repeat * self.seeds, (repeat + 1) * self.seeds)),
        }
        file = folder / f"sweep-{repeat}.yaml"
        file.write_text(yaml.safe_dump(tree), encoding="utf-8")
        return file


def _make_upstream(file: Path) -> None:
    """What all trials rest on, in a run beside the sweeps, which adopt it."""
    store = Store(file.parent / "upstream")
    trial = read_sweep(file, (), file.parent, adopt=False).agenda.trials[0]
    runner = LocalRunner(ResourcesConfig(device="cpu"))
    execute(make_plan(trial.recipe, store, until=tuple(trial.names.keys() - trial.trained.keys())), runner, [])
    runner.close()


def _seconds(file: Path) -> float:
    command = [sys.executable, "-m", "orchestrator.cli.main", "sweep", str(file), "--runs", str(file.parent)]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(json.dumps({"command": command, "stderr": done.stderr[-2000:]}))
    return time.perf_counter() - start
