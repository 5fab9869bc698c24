"""What a run has measured of each model, from its losses of blocks: the report's figures, with intervals for all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from orchestrator.evaluation.statistics import Interval, percentile_interval, resampled_means
from orchestrator.exports._source import Source
from orchestrator.works import independent


@dataclass(frozen=True)
class Figures:
    """Of one model on one language; intervals are None where works are too few."""

    perplexity: float
    perplexity_interval: Interval | None
    bits_per_byte: float
    bits_interval: Interval | None

    def cells(self) -> list[str]:
        """Perplexity and bits per byte for a table."""
        return [
            _with_interval(self.perplexity, self.perplexity_interval, ",.2f"),
            _with_interval(self.bits_per_byte, self.bits_interval, ".4f"),
        ]


def measured(source: Source) -> dict[tuple[str, str], Figures]:
    """Figures by model ("teacher", an expert, "alone:" and an expert without its common one, …) and language.

    Resamples are those of the evaluation, so that intervals of perplexities are the report's. Empty where the run has
    no evaluation.

    Raises:
        ArtifactError: the evaluation is damaged.
    """
    part = source.part("evaluation")
    if part is None:
        return {}
    about = json.loads((part.check().folder / "evaluation.json").read_text(encoding="utf-8"))
    tensors, found = load_file(part.folder / "block_losses.safetensors"), dict[tuple[str, str], Figures]()
    for number, language in enumerate(about["teacher"]):
        ends = f"/{language}"
        names = [name for name in tensors if name.startswith("loss/") and name.endswith(ends)]
        losses_NM = np.stack([tensors[name] for name in names], axis=1)
        figures = _figures(
            losses_NM, tensors[f"bytes{ends}"], tensors[f"works{ends}"], about, [int(source.recipe["seed"]), number]
        )
        found |= {(name[len("loss/") : -len(ends)], language): each for name, each in zip(names, figures, strict=True)}
    return found


def _figures(
    losses_NM: NDArray[np.float64],
    bytes_N: NDArray[np.int64],
    works_N: NDArray[np.int64],
    about: dict[str, float],
    seed: Sequence[int],
) -> list[Figures]:
    """Of each model, from the nats of its blocks [N, M]."""
    models, works = losses_NM.shape[1], independent(works_N)
    columns = np.concatenate([losses_NM, bytes_N[:, None]], axis=1)
    draws = resampled_means(columns, works_N, int(about["bootstrap"]), seed)
    total, size, confidence = losses_NM.mean(0) / about["context"], max(1, int(bytes_N.sum())), about["confidence"]
    bits = losses_NM.sum(0) / np.log(2) / size
    drawn_bits = draws[:, :models] / np.log(2) / np.maximum(draws[:, models:], 1e-9)
    return [
        Figures(
            float(np.exp(total[model])),
            percentile_interval(np.exp(draws[:, model] / about["context"]), confidence, works),
            float(bits[model]),
            percentile_interval(drawn_bits[:, model], confidence, works),
        )
        for model in range(models)
    ]


def _with_interval(figure: float, interval: Interval | None, form: str) -> str:
    return f"{figure:{form}}" + ("" if interval is None else f" ({interval[0]:{form}} to {interval[1]:{form}})")
