"""One training worker in its own process: trains a tiny mixture with each case asked for.

    python parts_worker.py OUT RANK WORLD_SIZE BLOCKS CASE …

CASE is JSON: the strategy, and what else differs (see :class:`Case`). Rank 0 writes a list with an entry for each to
OUT/results.json, and the final weights to OUT/weights-<number>.safetensors.
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from strategy_worker import train

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import TrainingConfig
from orchestrator.environment import Environment
from orchestrator.models import build_model, weights_digest
from orchestrator.models.mixture import COMMON, SHARED
from orchestrator.models.setups.moe_ce import MoECE
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.training import loop
from orchestrator.training.objective import CrossEntropyObjective
from orchestrator.training.parts import Parts

ADAMW = {"type": "adamw", "lr": 0.01, "weight_decay": 0.1, "eps": 1e-4}  # so that rounding does not decide a direction


@dataclass(frozen=True)
class Case:
    """A training.

    Attributes:
        strategy, optimizer: with their options. sampling: of batches. steps: how many.
        frozen: part that is never trained. resting: one that steps of the first language alone don't train.
        watched: compare all weights and states around each step. resumed: train it a second time, interrupted.
        begun: strategy of the first half of that; None: the same.
    """

    strategy: dict[str, Any]
    optimizer: dict[str, Any] = field(default_factory=lambda: ADAMW)
    sampling: str = "by_language"
    steps: int = 8
    frozen: str = ""
    resting: str = ""
    watched: bool = False
    resumed: bool = False
    begun: dict[str, Any] | None = None


def task(folder: Path, case: Case) -> loop.Task:
    blocks = TokenBlocks.open(folder, "train")
    spec = PluginSpec(type="gpt2", layers=1, width=16, heads=2)
    batch = blocks.context * 8

    def new_model() -> torch.nn.Module:
        models = [
            build_model(spec, blocks.vocab_size, blocks.context, seed) for seed in range(len(blocks.languages) + 1)
        ]
        experts = dict(zip(blocks.languages, models[1:], strict=True))
        return MoECE(combiner=PluginSpec(type="gate")).assemble(experts, models[0])

    def selected(languages: frozenset[str]) -> frozenset[str]:
        resting = {case.resting} if languages == {blocks.languages[0]} else set()
        return languages | {SHARED, COMMON} - {case.frozen} - resting

    return loop.Task(
        new_model=new_model,
        objective=CrossEntropyObjective(),
        config=TrainingConfig(
            tokens=batch * case.steps,
            batch_tokens=batch,
            micro_batch=2,
            optimizer=PluginSpec.model_validate(case.optimizer),
            clip=0.1,
            eval_every=4,
            eval_blocks=3,
            checkpoint_every=2,
            sampling=case.sampling,
            precision="fp32",
            publish="last",
        ),
        train=blocks,
        validation=TokenBlocks.open(folder, "validation"),
        languages=blocks.languages,
        seed=1,
        fingerprint="contract",
        parts=Parts(
            part_of=new_model().part_of,
            selected=selected,
            keep=lambda model, languages: model.keep(languages),
        ),
    )


def computed(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights that a forward pass on this worker sees."""
    parameters = dict(model.named_parameters())
    if not any(hasattr(parameter, "ds_id") for parameter in parameters.values()):
        return {name: parameter.detach().clone() for name, parameter in parameters.items()}
    import deepspeed

    with deepspeed.zero.GatheredParameters(list(parameters.values())):
        return {name: parameter.detach().clone() for name, parameter in parameters.items()}


class Watch:
    """Compares weights and optimizer state before and after each step: what it doesn't select must be bit-identical."""

    def __init__(self, parts: Parts) -> None:
        self.parts, self.moved, self.unmoved, self.step = parts, [], [], loop.train_step
        self.held_still = 0
        self.before: dict[tuple[str, str], torch.Tensor] = {}

    def __enter__(self) -> Watch:
        loop.train_step = self
        return self

    def __exit__(self, *_: object) -> None:
        loop.train_step = self.step

    def __call__(self, handle: Any, *others: Any) -> Any:
        before = self.before or self.snapshot(handle)
        result = self.step(handle, *others)
        self.before = self.snapshot(handle)  # of the next step: what lies between them changes nothing either
        clock = next(each for each in others if hasattr(each, "selected"))
        for (kind, name), value in self.before.items():
            same = (kind, name) in before and torch.equal(before[kind, name], value)
            if self.parts.part_of(name) not in clock.selected:
                self.held_still += same
                self.moved += [] if same else [f"step {clock.step}: {kind} of {name}"]
            elif same and kind != "computed weight":
                self.unmoved.append(f"step {clock.step}: {kind} of {name}")
        return result

    @staticmethod
    def snapshot(handle: Any) -> dict[tuple[str, str], torch.Tensor]:
        seen = {("computed weight", name): value for name, value in computed(handle.model).items()}
        seen |= {("weight", name): value for name, value in handle.weights().items()}
        for path, value in handle.optimizer_state().items():
            name, key = path.rsplit("/", 1)
            seen[key, name] = value
        return seen


def results(env: Environment, case: Case, folder: Path, weights: Path) -> dict[str, Any]:
    job, last = task(folder, case), case.steps
    with Watch(job.parts) if case.watched else nullcontext(Watch(job.parts)) as watch:
        outcome = loop.train(job, env)
    found: dict[str, Any] = {"moved": watch.moved, "unmoved": watch.unmoved, "held_still": watch.held_still}
    if case.resumed:
        again = replace(env, work=env.work / "interrupted")
        first = again if case.begun is None else replace(again, strategy=PluginSpec.model_validate(case.begun))
        train(job, first, stop=3)
        resumed = loop.train(job, again)
    if env.rank:
        return {}
    final = outcome.checkpoints.weights("step", last)
    save_file(final, weights)
    if case.resumed:
        found["digest"], found["resumed"] = (
            weights_digest(each.checkpoints.weights("step", last)) for each in (outcome, resumed)
        )
        found["resumed_loss"] = resumed.progress.validation_loss
    rows = [json.loads(line) for line in (env.work / "metrics.jsonl").read_text().splitlines()]
    names = ("loss", "grad_norm", "validation_loss", "tokens")
    return {**found, **{name: [row[name] for row in rows if name in row] for name in names}}


def main() -> None:
    torch.set_num_threads(1)
    out, folder = Path(sys.argv[1]), Path(sys.argv[4])
    rank, world_size = map(int, sys.argv[2:4])
    found = []
    for number, text in enumerate(sys.argv[5:]):
        case = Case(**json.loads(text))
        spec = PluginSpec.model_validate(case.strategy)
        env = Environment(work=out / f"run-{number}", strategy=spec, rank=rank, world_size=world_size)
        found.append(results(env, case, folder, out / f"weights-{number}.safetensors"))
    if rank == 0:
        (out / "results.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
    if torch.distributed.is_initialized():  # its threads may outlive the interpreter, which then aborts
        torch.distributed.destroy_process_group()
