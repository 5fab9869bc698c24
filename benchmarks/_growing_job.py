"""A process that runs one point of `mome bench growing`; prints CPU seconds and peak memory of each kind of step."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import sklearn.ensemble
import sklearn.linear_model  # noqa: F401 (imported before the clock runs)
import torch

import orchestrator.training.loop
import orchestrator.training.publish  # noqa: F401
from benchmarks._distill_job import LANGUAGE, gpt2
from benchmarks._growing_inputs import CUT, SEED, write_text, write_vocabulary
from orchestrator.artifacts import Store
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import ExpertsConfig, Recipe, ResourcesConfig
from orchestrator.environment import Environment
from orchestrator.memory import PeakMemory, Used
from orchestrator.models import build_model
from orchestrator.pipeline.execute import execute
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.local import LocalRunner
from orchestrator.pipeline.plan import make_plan
from orchestrator.stages.expert import ExpertStage
from orchestrator.tokens.blocks import TokenBlocks

Found = dict[str, dict[str, float]]
"""By kind of step: `cpu` in seconds, `peak` and `own` in bytes."""


class Metered(LocalRunner):
    """Notes CPU seconds and memory of the steps of each kind: `expert-en` and `expert-fr` are one kind."""

    def __init__(self, resources: ResourcesConfig) -> None:
        super().__init__(resources)
        self.found: Found = {}

    def run(
        self, step: Step, inputs: Mapping[str, Path], out: Path, work: Path, begun: Callable[[], None] = lambda: None
    ) -> Used:
        """See :class:`orchestrator.pipeline.local.LocalRunner`."""
        begin, own = 0.0, OwnMemory()

        def at_its_turn() -> None:  # others wait in threads of their own
            nonlocal begin
            begun()
            own.start()
            begin = cpu()

        used = super().run(step, inputs, out, work, at_its_turn)
        seconds = cpu() - begin
        kind = self.found.setdefault(step.name.partition("-")[0], {"cpu": 0.0, "peak": 0.0, "own": 0.0})
        kind["cpu"] += seconds
        kind["peak"], kind["own"] = max(kind["peak"], used.peak), max(kind["own"], own.end())
        return used


class OwnMemory:
    """The largest memory of this process without pages of files, which the system may take back, from many samples."""

    def __init__(self) -> None:
        self._bytes, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def end(self) -> int:
        """Bytes at the highest sample."""
        self._stop.set()
        self._thread.join()
        return self._bytes

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            found: Any = process.memory_info()
            self._bytes = max(self._bytes, found.rss - getattr(found, "shared", 0))
            if self._stop.wait(0.05):
                return


def cpu() -> float:
    """CPU seconds of this process and of those below it that have ended."""
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


def main() -> None:
    """Do the job in the first argument."""
    job = json.loads(sys.argv[1])
    build_model(PluginSpec(**gpt2(1, 16, 2)), 300, 16, seed=0)(torch.zeros(1, 16, dtype=torch.long))  # its imports
    actions: dict[str, Callable[[Mapping[str, Any]], object]] = {"inputs": _inputs, "run": _run, "expert": _expert}
    print(json.dumps(actions[job.pop("do")](job)))


def _inputs(job: Mapping[str, Any]) -> None:
    experts, teacher = ExpertsConfig.model_validate(job["experts"]), PluginSpec(**job["teacher"])
    write_vocabulary(Path(job["folder"]), job["size"], job["blocks"], teacher, experts, job["cut"])


def _run(job: Mapping[str, Any]) -> dict[str, Any]:
    """Write text and run a recipe until a step; `all`: the run, with what is between its steps."""
    recipe = Recipe.model_validate(job["recipe"])
    for number, language in enumerate(recipe.corpus.languages.values()):
        write_text(Path(language.source.path), job["characters"], number)
    store, runner = Store(Path(job["folder"]) / "run"), Metered(recipe.resources)
    begin = cpu()
    made = execute(make_plan(recipe, store, until=job["until"]), runner, [], lambda _: None)
    runner.close()
    seconds = cpu() - begin
    blocks = TokenBlocks.open(made["blocks"].folder, "train")
    tokens = sum(blocks.count(language) for language in blocks.languages) * blocks.context
    peak, own = (max(kind[name] for kind in runner.found.values()) for name in ("peak", "own"))
    return {"tokens": tokens, "steps": {**runner.found, "all": {"cpu": seconds, "peak": peak, "own": own}}}


def _expert(job: Mapping[str, Any]) -> dict[str, Any]:
    """Train one expert of a vocabulary, whose inputs lie in `folder`."""
    root, kind = Path(job["folder"]), str(job["kind"])
    inputs = {name: root / name for name in ("blocks", "tokenizer", "teacher")}
    inputs[f"cache-{LANGUAGE}"] = root / kind
    if kind == CUT:
        inputs[f"vocabulary-{LANGUAGE}"] = root / "vocabulary"
    stage = ExpertStage(language=LANGUAGE, experts=ExpertsConfig.model_validate(job["experts"]), seed=SEED)
    out = root / f"expert of {kind}"
    out.mkdir()
    own = OwnMemory()
    own.start()
    begin = cpu()
    with PeakMemory() as memory:
        stage.run(inputs, out, Environment(work=out.with_suffix(".work"), threads=1))
    seconds = cpu() - begin
    size = sum(file.stat().st_size for file in (out / "model").glob("*.safetensors"))
    return {"cpu": seconds, "peak": memory.bytes, "own": own.end(), "size": size}


if __name__ == "__main__":
    main()
