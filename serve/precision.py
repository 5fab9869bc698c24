"""What a precision costs and brings: held-out perplexity and speed of a run's experts, measured on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from orchestrator.artifacts import Store
from orchestrator.errors import ArtifactError
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.kept import Kept, vocabulary_of
from serve.engine.forward import Forward, open_expert
from serve.engine.forward.step import Piece, Step
from serve.engine.options import PRECISIONS
from serve.files import MixtureFiles

MOST = 0.01
"""Share of perplexity that a precision may lose."""
_BATCHES = (1, 8)
_STEPS = 24


@dataclass(frozen=True)
class Precision:
    """An expert in a precision.

    Attributes:
        expert, precision: which.
        perplexity: on the held-out blocks of the expert's language.
        loss: share by which that is above the perplexity in fp32.
        speeds: rows computed together -> tokens a second, prompts and sampling not counted.
    """

    expert: str
    precision: str
    perplexity: float
    loss: float
    speeds: dict[int, float]


def measure_precisions(
    root: Path, experts: Sequence[str] | None = None, blocks: int = 64, split: str = "test"
) -> Iterator[Precision]:
    """Every expert of a run's mixture in every precision, in fp32 first.

    Args:
        root: run folder.
        experts: some of them; None: all whose languages have held-out blocks.
        blocks: of a language, at most.
        split: "test" or "validation".

    Raises:
        ArtifactError: the run is not finished, or has no blocks. UnknownModelError: there is no such expert.
    """
    files, made = MixtureFiles.of(root), Store(root).current()
    if "blocks" not in made:
        raise ArtifactError("the run has no held-out blocks", str(root), "make them: mome run RECIPE --until blocks")
    held_out = TokenBlocks.open(made["blocks"].check().folder, split)
    for name in experts or [name for name in files.experts if name in held_out.languages]:
        folder = files.expert(name)
        kept = vocabulary_of(folder)
        rows = [own_tokens(held_out.block(name, i), kept) for i in range(min(blocks, held_out.count(name)))]
        exact = math.nan
        for precision in PRECISIONS:
            forward = open_expert(folder, precision=precision)
            found = perplexity(forward, rows)
            exact = found if precision == PRECISIONS[0] else exact
            yield Precision(name, precision, found, found / exact - 1, {n: _speed(forward, n) for n in _BATCHES})


def own_tokens(block: np.ndarray, kept: Kept | None) -> list[int]:
    """A block in the expert's own tokens, no longer than it was."""
    ids = block if kept is None else kept.spell(block)[0][: len(block)]
    found: list[int] = ids.tolist()
    return found


def fastest(found: Sequence[Precision], batch: int = 1, most: float = MOST) -> str:
    """The precision that computes fastest among those in which no expert loses more than `most` of its perplexity."""
    exact = {row.precision for row in found} - {row.precision for row in found if not row.loss <= most}
    seconds = {name: sum(1 / row.speeds[batch] for row in found if row.precision == name) for name in sorted(exact)}
    return min(seconds, key=seconds.__getitem__, default=PRECISIONS[0])


def perplexity(forward: Forward, rows: Sequence[Sequence[int]]) -> float:
    """Perplexity of blocks of tokens, each read by itself, computed as answers are.

    Args:
        forward: of an expert.
        rows: blocks; the first token of each is predicted by nothing.
    """
    losses, cache = list[np.ndarray](), forward.cache(1)
    with torch.inference_mode():
        for ids in rows:
            cache.reserve(len(ids))
            step = Step([], [Piece(0, 0, ids[:-1], every=True)], forward.device)
            logits_TV = forward.logits(forward.hidden(step, cache)).float()
            wanted_T = torch.tensor(ids[1:], device=forward.device)
            losses.append(cross_entropy(logits_TV, wanted_T, reduction="none").double().cpu().numpy())
    return float(np.exp(np.concatenate(losses).mean()))


def _speed(forward: Forward, rows: int) -> float:
    """Tokens a second of rows that are computed together."""
    cache, seconds = forward.cache(rows), list[float]()
    steps = min(_STEPS, forward.context)
    with torch.inference_mode():
        cache.reserve(steps)
        for place in range(steps):
            start = time.perf_counter()
            step = Step([Piece(slot, place, [1]) for slot in range(rows)], [], forward.device)
            forward.logits(forward.hidden(step, cache)).argmax(dim=-1).tolist()
            seconds.append(time.perf_counter() - start)
    return rows / median(seconds)
