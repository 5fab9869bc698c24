"""Writing a teacher's cache beside the teacher's plain forward pass, and how exact the logits are that come of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from benchmarks._distill_inputs import write_teacher
from benchmarks._distill_job import LANGUAGE, gpt2
from benchmarks._rows import Row, compare, in_turn, single
from orchestrator.config.base import PluginSpec
from orchestrator.environment import Environment
from orchestrator.models import head, load_model
from orchestrator.stages._teaching import cache_identity
from orchestrator.stages.cache import BATCH_TOKENS, CacheStage
from orchestrator.teacher import Cache
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.training.device import autocast

GOALS = {"bf16": 1e-3, "fp16": 1e-3, "fp32": 1e-5}
"""Largest error of a logit, by the type that hidden states are kept in, beside the largest logit."""
PLACES = {"memory": "", "disk": " with weights on disk"}
"""Where the teacher's weights lie, as cases call it."""


@dataclass(frozen=True)
class Teacher:
    """Tokens a second of a cache's writing, files and digests included, beside transformers' own forward pass.

    The plain pass has the same batches and stops at the last hidden states: it computes no logits, and keeps nothing.
    An untrained GPT-2 reads random blocks.
    """

    vocab: int = 32_000
    context: int = 256
    layers: int = 12
    width: int = 768
    heads: int = 12
    blocks: int = 16
    repeats: int = 3
    precisions: tuple[Literal["fp32", "bf16"], ...] = ("fp32",)

    def rows(self) -> Iterator[Row]:
        """For each precision: speed, with weights in memory and on disk; then errors of logits, by kept states."""
        with tempfile.TemporaryDirectory() as folder:
            teacher = gpt2(self.layers, self.width, self.heads)
            inputs = write_teacher(Path(folder), teacher, self.vocab, self.context, self.blocks)
            model, tokens = load_model(inputs["teacher"] / "model"), self.blocks * self.context
            ids = _ids(inputs)
            for precision, place in product(self.precisions, PLACES):
                ours = partial(self._write, inputs, Path(folder), PluginSpec(type="hidden_cache"), precision, place)
                actions: dict[str, Callable[[], object]] = {
                    "ours": ours,
                    "plain": partial(self._forward, model, ids, precision),
                }
                seconds = in_turn(actions, self.repeats)
                speeds = [[tokens / each for each in seconds[name]] for name in ("ours", "plain")]
                case = f"writing a cache{PLACES[place]}, beside the plain forward pass, {precision}"
                yield compare(case, "speed", "tokens/s", *speeds)
            with torch.no_grad():
                exact = model(input_ids=ids[:1], use_cache=False).logits[0]
            for states, goal in GOALS.items():
                source = PluginSpec(type="hidden_cache", states=states)
                kept = self._read(inputs, source, self._write(inputs, Path(folder), source, "fp32"))
                error = (head(model).unchanging.logits(kept.float()) - exact).abs().max() / exact.abs().max()
                yield single(f"logits of {states} states, beside the goal", "largest error", "", float(error), goal)

    def _write(
        self, inputs: Mapping[str, Path], folder: Path, source: PluginSpec, precision: Any, place: str = "memory"
    ) -> Path:
        """Write the whole cache into a new folder, with the teacher's weights in memory or on disk."""
        stage = CacheStage(language=LANGUAGE, teacher=source, precision=precision, seed=0)
        out = Path(tempfile.mkdtemp(dir=folder))
        stage.run(inputs, out, Environment(work=out.with_suffix(".work"), teacher_weights=place))
        return out

    def _forward(self, model: Any, ids: torch.Tensor, precision: Any) -> None:
        size = max(1, BATCH_TOKENS["cpu"] // self.context)
        with torch.no_grad(), autocast(torch.device("cpu"), precision):
            for few in torch.split(ids, size):
                model.base_model(input_ids=few, use_cache=False)

    def _read(self, inputs: Mapping[str, Path], source: PluginSpec, folder: Path) -> torch.Tensor:
        """The kept states of the first block."""
        blocks = TokenBlocks.open(inputs["blocks"], "train")
        return Cache(folder, cache_identity(source, inputs["teacher"], blocks, LANGUAGE)).block(0)["hidden"]


def _ids(inputs: Mapping[str, Path]) -> torch.Tensor:
    """Ids of all blocks, [N, T]."""
    blocks = TokenBlocks.open(inputs["blocks"], "train")
    rows = [[blocks.languages.index(LANGUAGE), number] for number in range(blocks.count(LANGUAGE))]
    return torch.from_numpy(blocks.gather(np.array(rows))[:, :-1])
