"""Mixtures beside one dense student: mixed batches at inference, joint training, and the paper's way of routing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from benchmarks._mixture import LANGUAGES, PaperWay, Shape, TrainingStep
from benchmarks._rows import Row, compare, in_turn
from orchestrator.models.inference import routed_logits
from orchestrator.models.mixture import Mixture
from orchestrator.routers import Router
from orchestrator.routers.paper import Paper

SETUPS = ("ple", "jeet", "moe_ce")


@dataclass(frozen=True)
class MixtureBench:
    """The paper's 3 × 768 students with 32,000 tokens at inference, smaller ones in training; in one process, in turn.

    A dense student has the layers that one sequence of the mixture passes: MoE-CE's two experts are twice as many.
    """

    inference: Shape = field(default_factory=lambda: Shape(3, 768, 6, 32_000, 64, 32))
    training: Shape = field(default_factory=lambda: Shape(3, 384, 6, 16_000, 128, 32))
    micro_batch: int = 8
    repeats: int = 5

    def rows(self) -> Iterator[Row]:
        """Tokens a second: of a mixed batch's logits, routing included; of joint steps; beside the paper's way."""
        yield from self._served()
        yield from self._trained()

    def _served(self) -> Iterator[Row]:
        shape = self.inference
        ids, which = shape.sequences()
        router = Paper().train({name: ids[which == i] for i, name in enumerate(LANGUAGES)}, 0, 1)["logistic_regression"]
        ids_BT, dense = torch.from_numpy(ids), {n: shape.model(8, deeper=n).eval() for n in (1, 2)}
        paper = PaperWay(shape.mixture("ple").eval().experts, ids, which)
        for setup in SETUPS:
            mixture = shape.mixture(setup).eval()
            student = dense[1 + (mixture.common is not None)]

            actions: dict[str, Callable[[], object]] = {
                "ours": partial(_serve, mixture, router, ids),
                "dense": partial(student, ids_BT, use_cache=False),
            }
            if setup == "ple":
                actions["paper"] = partial(paper, ids_BT)
            with torch.inference_mode():
                speeds = self._speeds(actions, shape)
            case = f"mixed batch of {shape.batch}, {setup}"
            yield compare(f"{case}, beside one dense student", "speed", "tokens/s", speeds["ours"], speeds["dense"])
            if "paper" in speeds:
                yield compare(f"{case}, beside the paper's way", "speed", "tokens/s", speeds["ours"], speeds["paper"])

    def _trained(self) -> Iterator[Row]:
        shape = self.training
        for setup in SETUPS[1:]:
            mixture = shape.mixture(setup)
            student = shape.model(8, deeper=1 + (mixture.common is not None))
            actions = {
                "ours": TrainingStep(mixture, shape, self.micro_batch),
                "dense": TrainingStep(student, shape, self.micro_batch),
            }
            speeds = self._speeds(actions, shape)
            case = f"joint training, {setup}, beside one dense student"
            yield compare(case, "speed", "tokens/s", speeds["ours"], speeds["dense"])

    def _speeds(self, actions: Mapping[str, Callable[[], object]], shape: Shape) -> dict[str, list[float]]:
        tokens = shape.batch * shape.context
        found = in_turn(actions, self.repeats)
        return {name: [tokens / second for second in seconds] for name, seconds in found.items()}


def _serve(mixture: Mixture, router: Router, ids: np.ndarray) -> torch.Tensor:
    """Route every sequence, and compute the logits of all."""
    best_B = router.probabilities(list(ids)).argmax(1)
    return routed_logits(mixture, torch.from_numpy(ids), torch.from_numpy(np.eye(len(LANGUAGES))[best_B]))
