"""Plots of committed benches. `docs/figures.py` writes them beside the results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import benches

from orchestrator.reporting.figures import color_of, draw

PANELS = {
    "tokens": ("tokens of text, millions", 1e6, {"all": "the run", "expert": "expert", "cache": "cache"}),
    "vocabulary": (
        "tokens of the vocabulary, thousands",
        1e3,
        {"hidden_cache": "hidden_cache", "sampled_cache": "sampled_cache"},
    ),
    "experts": ("experts", 1.0, {"all": "the run", "router": "router", "evaluation": "evaluation"}),
}
"""By what grows: label and unit of its axis, and the curves."""


def growing(found: Mapping[str, Any]) -> str:
    """CPU time, and memory below it, against tokens, vocabulary and experts, on logarithmic axes; an SVG document."""
    series = benches.growth(found)

    def paint(canvas: Any) -> None:
        for column, (what, (label, unit, curves)) in enumerate(PANELS.items()):
            for row, (metric, ylabel) in enumerate({"CPU time": "CPU seconds", "memory": "memory, MB"}.items()):
                axes = canvas.add_subplot(2, 3, 3 * row + column + 1)
                for index, (name, shown) in enumerate(curves.items()):
                    points = series[what, name][metric]
                    axes.plot(
                        [x / unit for x in points], list(points.values()), "o-", color=color_of(index), label=shown
                    )
                ticks = [x / unit for x in next(iter(series[what, name].values()))]
                axes.set_xscale("log")
                axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
                if row:
                    axes.set_ylim(bottom=0)
                    axes.set_xlabel(label)
                else:
                    axes.set_yscale("log")
                    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
                    axes.legend(fontsize=7.5)
                axes.minorticks_off()
                if not column:
                    axes.set_ylabel(ylabel)

    alt = "CPU time and memory against tokens of text, tokens of the vocabulary and experts"
    return draw("growing", alt, alt, paint, size=(9.0, 5.2)).svg
