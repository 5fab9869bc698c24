"""The figures of a sweep's report: losses against the step (the paper's Figures 7 and 8), differences, weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.reporting.comparison import Configuration
from orchestrator.reporting.figures import Curve, Figure, band, curves, draw, legend, thin_lines

PER_PANEL = 5
"""Curves in one panel, the baseline's not counted."""
Bands = Mapping[str, tuple[Sequence[int], Sequence[float], Sequence[float]]]
"""Label -> steps, low ends, high ends."""


def losses(configurations: Sequence[Configuration]) -> Figure | None:
    """Mean validation loss over the finished seeds against the step, with bands from the lowest to the highest."""
    means: dict[str, Curve] = {}
    bands: dict[str, tuple[list[int], list[float], list[float]]] = {}
    for configuration in configurations:
        by_step: dict[int, list[float]] = {}
        for trial in configuration.finished:  # a curve that ends early would make the mean jump
            for step, loss in trial["curve"]:
                by_step.setdefault(step, []).append(loss)
        if by_step:
            steps = sorted(by_step)
            means[configuration.label] = [[step, float(np.mean(by_step[step]))] for step in steps]
            low, high = ([end(by_step[step]) for step in steps] for end in (min, max))
            bands[configuration.label] = (steps, low, high)
    caption = "Validation loss against the step: mean over seeds; bands reach from the lowest to the highest seed."
    return _panels("validation-loss", caption, "validation loss, nats a token", means, bands, configurations[0].label)


def differences(configurations: Sequence[Configuration], confidence: float) -> Figure | None:
    """Paired difference to the baseline against the step, with its t interval."""
    baseline = configurations[0]
    means: dict[str, Curve] = {}
    bands: dict[str, tuple[list[int], list[float], list[float]]] = {}
    for configuration in configurations[1:]:
        found = configuration.minus_by_step(baseline, confidence)
        found = {step: estimate for step, estimate in found.items() if not math.isnan(estimate.margin)}
        if found:
            means[configuration.label] = [[step, each.mean] for step, each in found.items()]
            low, high = ([each.mean + sign * each.margin for each in found.values()] for sign in (-1, 1))
            bands[configuration.label] = (list(found), low, high)
    caption = f"Validation loss less that of {baseline.label}, paired by seed, with {confidence:.0%} intervals."
    return _panels("difference", caption, "difference, nats a token", means, bands)


def weights(configurations: Sequence[Configuration]) -> Figure | None:
    """Alpha and beta at each step that was logged, of the first finished trial of each configuration."""
    found = {c.label: c.finished[0].get("weights", ()) for c in configurations if c.finished}
    found = {label: rows for label, rows in found.items() if rows}
    if not found:
        return None

    def paint(canvas: Any) -> None:
        for index, (axes, title) in enumerate(
            zip(canvas.subplots(1, 2, sharey=True), ("alpha (cross-entropy)", "beta (soft loss)"), strict=True), 1
        ):
            thin_lines(axes, {label: [(row[0], row[index]) for row in rows] for label, rows in found.items()})
            axes.set(title=title, xlabel="optimizer step", ylim=(-0.03, 1.03))
            for line, label in zip(axes.lines, found, strict=True):
                line.set_label(label)
        canvas.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)

    caption = "Weights of the two losses at each logged step, one seed of each configuration; colours repeat after 8."
    ends = "; ".join(f"{label}: alpha {rows[-1][1]:.2f} at the end" for label, rows in found.items())
    return draw("loss-weights", caption, f"{caption} {ends}.", paint, (7.0, 2.6 + 0.08 * len(found)))


def _panels(
    name: str, caption: str, ylabel: str, means: Mapping[str, Curve], bands: Bands, everywhere: str = ""
) -> Figure | None:
    """Curves with bands, a few to a panel; the curve labelled `everywhere` is in each."""
    shared = {everywhere: means[everywhere]} if everywhere in means else {}
    others = [label for label in means if label not in shared]
    if not means:
        return None
    parts = [list(part) for part in np.array_split(others, max(1, -(-len(others) // PER_PANEL)))]

    def paint(canvas: Any) -> None:
        grid = canvas.subplots(len(parts), 1, sharex=True, sharey=True, squeeze=False)
        for axes, labels in zip(grid[:, 0], parts, strict=True):
            lines = {**shared, **{label: means[label] for label in labels}}
            for index, label in enumerate(lines):
                band(axes, *bands[label], index)
            curves(axes, lines, ylabel, "optimizer step" if labels is parts[-1] else "")
            legend(axes, columns=_columns(lines))

    ends = "; ".join(f"{label}: {points[-1][1]:.3f}" for label, points in means.items())
    return draw(name, caption, f"{caption} At the end, {ends}.", paint, (7.0, 0.6 + 3.2 * len(parts)))


def _columns(labels: Mapping[str, Any]) -> int:
    return 1 if max(map(len, labels)) > 24 else 3
