"""Stage: what the teacher says of one language's training blocks, written once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator.allocator import kept_memory
from orchestrator.artifacts import write_json
from orchestrator.config.base import Section, build, plugin_of
from orchestrator.config.recipe import TrainingConfig
from orchestrator.disk import disk_errors, link_or_copy
from orchestrator.environment import Environment, serial_map
from orchestrator.errors import ResourceError
from orchestrator.stages._kept import open_blocks
from orchestrator.stages._memory import streaming_cost, teacher_stays_on_disk
from orchestrator.stages._teaching import cache_identity, teacher_facts, teacher_model
from orchestrator.stages.base import Cost, Expected, Stage
from orchestrator.tokens.batches import BatchOrder
from orchestrator.tokens.blocks import TokenBlocks

if TYPE_CHECKING:
    from torch import Tensor, nn

    from orchestrator.teacher import Teacher

SHARD_BYTES = 2**28
"""Size of a shard, about."""
SHARDS = 8
"""Shards that a small cache is cut into, so that workers share it and little is lost with a killed one."""
BATCH_TOKENS = {"cpu": 2048, "cuda": 16_384}
"""Tokens that the teacher runs on at once."""
PARALLEL_FLOPS = 2e12
"""With less to compute, starting processes that import torch takes longer than computing here."""


class Draw(Section):
    """What decides which blocks a training of one language draws."""

    tokens: int | None
    """To train on."""
    epochs: float
    """Passes over the data where `tokens` is null."""
    batch_tokens: int
    """Of an optimizer step."""
    sampling: Literal["mixed", "balanced", "by_language"]
    """How batches draw."""
    seed: int
    """Of the order."""

    @classmethod
    def of(cls, training: TrainingConfig, seed: int) -> Draw:
        """Of a training with a seed."""
        own = {name: getattr(training, name) for name in cls.model_fields if name != "seed"}
        return cls(**own, seed=seed)

    def blocks(self, of: TokenBlocks, language: str) -> Sequence[int]:
        """Indices of the blocks drawn, ascending."""
        order = BatchOrder(of, (language,), self.batch_tokens // of.context, self.seed, self.sampling)
        found: list[int] = order.drawn(language, order.steps_for(self.tokens, self.epochs)).tolist()
        return found

    def share(self, tokens: int) -> float:
        """Of so many tokens, which share it draws, about."""
        return min(1.0, self.epochs if self.tokens is None else self.tokens / max(tokens, 1))


class CacheStage(Stage):
    """Runs the teacher over a language's training blocks, in parallel, and keeps what its source asks for.

    Reads `blocks` and `teacher`; `vocabulary-<language>` where experts have some of the tokens; `alignment-<language>`
    where the teacher has others.
    Writes `cache.json` and `shard-00000.safetensors` …, and `drawn.npy` where it is not of all blocks; a killed attempt
    goes on with the shards it lacks.
    """

    accelerated: ClassVar[bool] = True

    language: str
    """Language of the blocks."""
    teacher: plugin_of("teacher")  # type: ignore[valid-type]
    """The source that will read the cache; it says what is kept."""
    precision: Literal["bf16", "fp32"]
    """Arithmetic of the teacher's forward pass."""
    seed: int
    """Seed of samples."""
    drawn: Draw | None = None
    """The training whose blocks it is for; null: all blocks."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`orchestrator.stages.base.Stage`.

        Raises:
            ModelError: the teacher has another vocabulary than the blocks.
            ResourceError: no space.
        """
        from orchestrator.teacher import ABOUT, DRAWN

        blocks = open_blocks(inputs, "train", self.language)
        numbers = self._numbers(blocks)
        parameters = int(teacher_facts(inputs["teacher"])["parameters"])
        flops = 2.0 * parameters * len(numbers) * blocks.context
        parallel = env.device == "cpu" and flops >= PARALLEL_FLOPS  # a GPU is this process's
        processes = (os.cpu_count() or 1) if parallel else 1
        streamed = teacher_stays_on_disk(inputs["teacher"], env, processes)
        shards = self._shards(inputs, blocks, numbers, env.device, env.work, streamed)
        needed = sum(shard.bytes for shard in shards if not shard.path.exists())
        _check_space(env.work, needed)
        run = env.map if parallel else serial_map
        written = chain.from_iterable(run(_write, _together(shards, streamed, processes)))
        for done, shard in enumerate(written, 1):
            env.log({"step": done, "steps": len(shards), "bytes": shard.bytes})
            if env.keep:
                env.keep(shard.path)
        with disk_errors(out):
            for shard in shards:
                link_or_copy(shard.path, out / shard.path.name)
            if self.drawn is not None:
                np.save(out / DRAWN, np.asarray(numbers, dtype=np.int64))
        about = {
            "identity": cache_identity(self.teacher, inputs["teacher"], blocks, self.language),
            "blocks": len(numbers),
            **({} if self.drawn is None else {"drawn": True}),
            "blocks_per_shard": len(shards[0].numbers),
            "bytes": sum(shard.bytes for shard in shards),
        }
        write_json(out / ABOUT, about)

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:
        """A forward pass of the teacher over the training blocks: 2 · N FLOPs a token."""
        from orchestrator.models import counts

        teacher = counts(expected.teacher, expected.teacher_rows, expected.context)
        per_token = build("teacher", self.teacher).bytes_per_token(teacher.width, expected.vocab_size)
        folder = inputs.get("blocks")
        tokens = expected.tokens_per_language or expected.blocks.get("train", 0) * expected.context
        if folder is not None:
            blocks = TokenBlocks.open(folder, "train")
            tokens = blocks.count(self.language) * blocks.context
        tokens = tokens if self.drawn is None else round(self.drawn.share(tokens) * tokens)
        flops = 2.0 * teacher.parameters * tokens
        parallel = flops >= PARALLEL_FLOPS or not tokens
        memory = streaming_cost(expected, (os.cpu_count() or 1) if parallel else 1)
        return replace(memory, tokens=tokens, flops=flops, disk_bytes=per_token * tokens)

    def _numbers(self, blocks: TokenBlocks) -> Sequence[int]:
        """Indices of the blocks that it is of."""
        if self.drawn is None:
            return range(blocks.count(self.language))
        return self.drawn.blocks(blocks, self.language)

    def _shards(
        self,
        inputs: Mapping[str, Path],
        blocks: TokenBlocks,
        numbers: Sequence[int],
        device: str,
        work: Path,
        streamed: bool,
    ) -> list[_Shard]:
        """The parts of the work: the same however many workers there are."""
        from orchestrator.models import hidden_width
        from orchestrator.teacher import shard_name

        width = hidden_width(inputs["teacher"] / "model")
        per_token = build("teacher", self.teacher).bytes_per_token(width, blocks.vocab_size)
        count, per_block = len(numbers), per_token * blocks.context
        size = max(1, min(SHARD_BYTES // per_block, -(-count // SHARDS)))
        return [
            _Shard(
                path=work / "shards" / shard_name(number),
                numbers=numbers[first : first + size],
                bytes=per_block * min(size, count - first),
                stage=self,
                digest=str(teacher_facts(inputs["teacher"])["weights_sha256"]),
                inputs=inputs,
                device=device,
                streamed=streamed,
            )
            for number, first in enumerate(range(0, count, size))
        ]


@dataclass(frozen=True)
class _Shard:
    """One shard to write: of blocks by their numbers. Small enough to send anywhere."""

    path: Path
    numbers: Sequence[int]
    bytes: int
    stage: CacheStage
    digest: str
    inputs: Mapping[str, Path]
    device: str
    streamed: bool

    def batches(self, context: int) -> list[NDArray[np.int64]]:
        """Numbers of the blocks that the teacher reads at once."""
        size = max(1, BATCH_TOKENS[self.device] // context)
        return [np.array(self.numbers[first : first + size]) for first in range(0, len(self.numbers), size)]


def _together(shards: Sequence[_Shard], streamed: bool, processes: int) -> list[Sequence[_Shard]]:
    """Shards that are written at a time: where layers are read from disk, as many as a layer is read for at once."""
    if not streamed:
        return [[shard] for shard in shards]
    from orchestrator.models.streamed import MOST

    passes = len(shards[0].batches(TokenBlocks.open(shards[0].inputs["blocks"], "train").context))
    count = max(1, min(MOST // passes, -(-len(shards) // processes)))
    return [shards[first : first + count] for first in range(0, len(shards), count)]


def _write(shards: Sequence[_Shard]) -> Sequence[_Shard]:
    """Write those shards that are not there yet, each whole."""
    import torch

    from orchestrator.teacher import Shard, write_shard

    missing = [shard for shard in shards if not Shard(shard.path).whole(len(shard.numbers))]
    if missing:
        recorded, context = _record(missing), TokenBlocks.open(missing[0].inputs["blocks"], "train").context
        with kept_memory():
            for shard in missing:
                batches = list(islice(recorded, len(shard.batches(context))))
                write_shard(shard.path, {name: torch.cat([each[name] for each in batches]) for name in batches[0]})
    return shards


def _record(shards: Sequence[_Shard]) -> Iterator[dict[str, Tensor]]:
    """What the source keeps of each batch of the shards' blocks, on the CPU."""
    from orchestrator.models.streamed import all_of

    first, stage = shards[0], shards[0].stage
    blocks = open_blocks(first.inputs, "train", stage.language)
    key = (first.digest, first.device, stage.language, tuple(first.inputs.items()), stage.precision, first.streamed)
    teacher, model = _teacher(*key)
    batches = [numbers for shard in shards for numbers in shard.batches(blocks.context)]
    functions = [partial(_said, stage, teacher, blocks, first.device, each) for each in batches]
    return all_of(model, functions, max(BATCH_TOKENS[first.device], blocks.context))


def _said(
    stage: CacheStage, teacher: Teacher, blocks: TokenBlocks, device: str, numbers: NDArray[np.int64]
) -> dict[str, Tensor]:
    """What the source keeps of one batch of blocks, on the CPU."""
    import torch

    from orchestrator.training.device import autocast

    rows = np.stack([np.full_like(numbers, blocks.languages.index(stage.language)), numbers], axis=1)
    ids = torch.from_numpy(blocks.gather(rows)[:, :-1]).to(device)
    seeds = [int(np.random.SeedSequence([stage.seed, *row]).generate_state(1)[0]) for row in rows.tolist()]
    with torch.no_grad(), autocast(torch.device(device), stage.precision):
        states = teacher.states(ids, torch.from_numpy(rows))
    return {name: tensor.cpu() for name, tensor in build("teacher", stage.teacher).record(states, seeds).items()}


@lru_cache(maxsize=1)
def _teacher(
    digest: str,  # noqa: ARG001 (part of the key)
    device: str,
    language: str,
    folders: tuple[tuple[str, Path], ...],
    precision: str,  # noqa: ARG001 (part of the key)
    streamed: bool,
) -> tuple[Teacher, nn.Module]:
    """The teacher and its model, kept from one shard to the next by each worker process.

    Its weights become those of a precision.
    """
    from orchestrator.models import load_model, load_streamed
    from orchestrator.teacher.live import Live

    inputs = dict(folders)
    model = (load_streamed if streamed else load_model)(inputs["teacher"] / "model", device)
    blocks = open_blocks(inputs, "train", language)
    return Live().open(teacher_model(inputs["teacher"], device, blocks, model=model)), model


def _check_space(folder: Path, needed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ResourceError(
            f"the teacher's cache needs {needed / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB left",
            str(folder),
            "free some space, or set experts.distillation.teacher=sampled_cache (with soft=forward_kl) or =live",
        )
