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

import torch

from benchmarks._rows import Row, compare
from orchestrator.artifacts import Store
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import Recipe, ResourcesConfig
from orchestrator.pipeline.execute import execute
from orchestrator.pipeline.graph import Step, steps_of
from orchestrator.pipeline.local import LocalRunner
from orchestrator.pipeline.plan import make_plan

CASES = (("cpu", "single", "fp32"), ("cpu", "single", "bf16"), ("cpu", "deepspeed", "fp32"), ("cuda", "single", "bf16"))
"""Device, strategy and precision of what is compared with a bare loop of that precision on that device."""


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
        """Tokens a second in the training loop, start-up not counted: medians over steps, then over repeats.

        On a GPU, where there is one, too.
        """
        from orchestrator.cluster.runner import RayRunner
        from orchestrator.cluster.session import session

        speeds: dict[tuple[str, ...], list[float]] = defaultdict(list)
        cases = [case for case in CASES if case[0] == "cpu" or torch.cuda.is_available()]
        with tempfile.TemporaryDirectory() as folder:
            root, kinds = Path(folder), dict.fromkeys((device, precision) for device, _, precision in cases)
            recipes = {kind: self._recipe(*kind) for kind in kinds}
            inputs = _prepare(recipes["cpu", "fp32"], root)
            with session(recipes["cpu", "fp32"].resources):
                for repeat in range(self.repeats):
                    for kind in kinds:
                        speeds["bare", *kind].append(self._bare(inputs, *kind))
                    for device, strategy, precision in cases:
                        recipe, work = recipes[device, precision], root / f"{device}-{strategy}-{precision}-{repeat}"
                        step = next(step for step in steps_of(recipe) if step.name == "teacher")
                        resources = recipe.resources.model_copy(update={"strategy": PluginSpec(type=strategy)})
                        runner = RayRunner(resources)
                        speeds[strategy, device, precision].append(self._ours(runner, step, inputs, work))
                        runner.close()
        for device, strategy, precision in cases:
            on = "" if device == "cpu" else "GPU, "
            case = f"{on}Ray Train worker, {strategy}, {precision}, beside a bare torch loop"
            ours, bare = speeds[strategy, device, precision], speeds["bare", device, precision]
            yield compare(case, "speed", "tokens/s", ours, bare)

    def _recipe(self, device: str, precision: str) -> Recipe:
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
                "resources": {"slots": 1, "cpus": self.threads, "threads": self.threads, "device": device},
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

    def _bare(self, inputs: Mapping[str, Path], device: str, precision: str) -> float:
        options = [str(inputs["blocks"]), precision, device, str(self.steps), str(self.batch_blocks), str(self.threads)]
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
