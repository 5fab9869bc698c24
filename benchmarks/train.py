"""Our training step through the whole stack beside a bare torch loop on the same model and blocks."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks._rows import Row, compare
from orchestrator.artifacts import Store
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import Recipe, ResourcesConfig
from orchestrator.pipeline.execute import execute
from orchestrator.pipeline.graph import Step, steps_of
from orchestrator.pipeline.local import LocalRunner
from orchestrator.pipeline.plan import make_plan

CASES = (("single", "fp32"), ("single", "bf16"), ("deepspeed", "fp32"))
"""Strategy and precision of what is compared with a bare loop of that precision."""


@dataclass(frozen=True)
class Train:
    """The quickstart's teacher: a Ray Train worker with `single`, one with `deepspeed`, and a bare loop, in turn."""

    steps: int = 24
    warmup: int = 6
    batch_blocks: int = 16
    context: int = 128
    threads: int = 2
    repeats: int = 3

    def rows(self) -> Iterator[Row]:
        """Tokens a second in the training loop, start-up not counted: medians over steps, then over repeats."""
        from orchestrator.cluster.runner import RayRunner
        from orchestrator.cluster.session import session

        speeds: dict[tuple[str, str], list[float]] = defaultdict(list)
        with tempfile.TemporaryDirectory() as folder:
            root, recipes = Path(folder), {precision: self._recipe(precision) for precision in ("fp32", "bf16")}
            inputs = _prepare(recipes["fp32"], root)
            with session(recipes["fp32"].resources):
                for repeat in range(self.repeats):
                    for precision in recipes:
                        speeds["bare", precision].append(self._bare(inputs, precision))
                    for strategy, precision in CASES:
                        recipe, work = recipes[precision], root / f"{strategy}-{precision}-{repeat}"
                        step = next(step for step in steps_of(recipe) if step.name == "teacher")
                        resources = recipe.resources.model_copy(update={"strategy": PluginSpec(type=strategy)})
                        runner = RayRunner(resources)
                        speeds[strategy, precision].append(self._ours(runner, step, inputs, work))
                        runner.close()
        for strategy, precision in CASES:
            case = f"Ray Train worker, {strategy}, {precision}, beside a bare torch loop"
            yield compare(case, "speed", "tokens/s", speeds[strategy, precision], speeds["bare", precision])

    def _recipe(self, precision: str) -> Recipe:
        tokens = self.batch_blocks * self.context
        training = {
            "tokens": tokens * self.steps,
            "batch_tokens": tokens,
            "micro_batch": self.batch_blocks,
            "precision": precision,
            "eval_every": 10**6,
            "eval_blocks": 1,
            "checkpoint_every": 10**6,
            "publish": "last",
        }
        return Recipe.model_validate(
            {
                "name": "bench",
                "corpus": {"languages": {code: {"source": "miniwiki"} for code in ("en", "fr", "de")}},
                "tokenizer": {"vocab_size": 4096},
                "blocks": {"context": self.context},
                "teacher": {"model": "gpt2-tiny-teacher", "training": training},
                "experts": {"model": "gpt2-tiny-expert"},
                "resources": {"slots": 1, "cpus": self.threads, "threads": self.threads, "device": "cpu"},
            }
        )

    def _ours(self, runner: object, step: Step, inputs: Mapping[str, Path], folder: Path) -> float:
        out, work = folder / "out", folder / "work"
        out.mkdir(parents=True)
        work.mkdir()
        runner.run(step, inputs, out, work)  # type: ignore[attr-defined]
        rows = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
        speeds = [row["tokens_per_second"] for row in rows if "tokens_per_second" in row]
        return float(statistics.median(speeds[self.warmup : -1]))  # the last step includes an evaluation

    def _bare(self, inputs: Mapping[str, Path], precision: str) -> float:
        options = [str(inputs["blocks"]), precision, str(self.steps), str(self.batch_blocks), str(self.threads)]
        command = [sys.executable, "-m", "benchmarks._bare", *options]
        seconds = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        )
        return self.batch_blocks * self.context / float(statistics.median(seconds[self.warmup : -1]))


def _prepare(recipe: Recipe, root: Path) -> dict[str, Path]:
    plan = make_plan(recipe, Store(root / "run"), until=["blocks"])
    runner = LocalRunner(ResourcesConfig(cpus=1))
    artifacts = execute(plan, runner, [])
    runner.close()
    return {name: artifacts[name].folder for name in ("blocks", "tokenizer")}
