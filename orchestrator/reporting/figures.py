"""The report's figures: matplotlib to SVG, the same bytes for the same numbers.

A figure is drawn once, in the colours of a light page. In the HTML page its colours become the page's CSS variables, so
that it follows dark mode, and its ids get its name as a prefix, so that several figures share one document.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.reporting import formats

# Light-page colour -> CSS variable of templates/style.css.
INK, SOFT, RULE, SURFACE = "#1b1f24", "#57606a", "#d5dae0", "#ffffff"
SERIES = ("#0b63a5", "#c2541b", "#1d8a63", "#9a4a9e", "#8a6d00", "#4a6fd0", "#b0305c", "#5f6670")
THEME = {INK: "--ink", SOFT: "--soft", RULE: "--rule", SURFACE: "--surface"} | {
    color: f"--series-{index}" for index, color in enumerate(SERIES, 1)
}
MARKERS = "osD^vPX*"

Curve = Sequence[Sequence[float]]
"""(x, y) pairs in the order of x."""


@dataclass(frozen=True)
class Figure:
    """A drawn figure.

    Attributes:
        name: file name without suffix.
        caption: shown under it.
        alt: what it shows, for those who can't see it.
        svg: a whole SVG document on a white ground.
    """

    name: str
    caption: str
    alt: str
    svg: str

    def inline_svg(self) -> str:
        """The `<svg>` element for an HTML page: its colours, no fixed size, ids of its own, no namespace links."""
        element = self.svg[self.svg.index("<svg") :]
        size = re.search(r'viewBox="0 0 ([\d.]+) [\d.]+"', element)
        width = float(size.group(1)) / 72 * 6.6 if size else 46.0  # rem: 7 inches fill the column
        for color, variable in THEME.items():
            element = element.replace(color, f"var({variable})")
        element = re.sub(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"', "", element)
        element = re.sub(r'\bid="', f'id="{self.name}-', element)
        element = element.replace("url(#", f"url(#{self.name}-").replace('href="#', f'href="#{self.name}-')
        label = self.alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
        opening = rf'<svg role="img" aria-label="{_literal(label)}" style="--width: {width:.1f}rem" \1>'
        return re.sub(r'<svg\b[^>]*?(viewBox="[^"]*")[^>]*>', opening, element, count=1)


@contextmanager
def _style(salt: str) -> Iterator[None]:
    """Matplotlib settings of every figure, whatever the reader's own matplotlibrc says."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of a home it can't write to it says nothing of use
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "svg.hashsalt": salt,
                "svg.fonttype": "none",
                "text.parse_math": False,
                "font.family": "sans-serif",
                "font.size": 10,
                "text.color": INK,
                "axes.edgecolor": RULE,
                "axes.labelcolor": SOFT,
                "axes.titlesize": 10.5,
                "axes.titlelocation": "left",
                "axes.facecolor": SURFACE,
                "figure.facecolor": SURFACE,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.grid": True,
                "axes.grid.axis": "y",
                "axes.axisbelow": True,
                "grid.color": RULE,
                "grid.linewidth": 0.6,
                "xtick.color": SOFT,
                "ytick.color": SOFT,
                "legend.frameon": False,
                "legend.fontsize": 9.5,
                "lines.linewidth": 1.6,
                "lines.markersize": 4.5,
            }
        )
        yield


def draw(
    name: str, caption: str, alt: str, paint: Callable[[Any], None], size: tuple[float, float] = (7.0, 3.6)
) -> Figure:
    """A figure `size` inches large that `paint(matplotlib figure)` fills."""
    return Figure(name, caption, alt, _svg(name, paint, size))


def _svg(name: str, paint: Callable[[Any], None], size: tuple[float, float]) -> str:
    with _style(name):
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure as Canvas

        canvas = Canvas(figsize=size, layout="constrained")
        FigureCanvasSVG(canvas)
        paint(canvas)
        if layout := canvas.get_layout_engine():
            layout.execute(canvas)
        canvas.set_layout_engine("none")  # savefig would go through everything once more for it
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return buffer.getvalue()


def color_of(index: int) -> str:
    """Colour of the series at `index`; they repeat after eight."""
    return SERIES[index % len(SERIES)]


def grouped_bars(axes: Any, groups: Sequence[str], series: Mapping[str, Sequence[float]], title: str) -> None:
    """Bars of each series beside each other in each group, with their values above them."""
    width = 0.8 / max(1, len(series))
    for index, (label, values) in enumerate(series.items()):
        places = np.arange(len(groups)) + (index - (len(series) - 1) / 2) * width
        bars = axes.bar(places, values, width * 0.92, label=label, color=color_of(index))
        axes.bar_label(bars, [formats.compact(v) for v in values], padding=2, fontsize=7.5, color=SOFT, rotation=90)
    axes.set_xticks(range(len(groups)), groups, color=INK)
    axes.set_title(title)
    axes.margins(y=0.22)
    axes.yaxis.set_major_formatter(lambda value, _: formats.compact(value))
    axes.tick_params(length=0)


def curves(axes: Any, lines: Mapping[str, Curve], ylabel: str, xlabel: str = "optimizer step") -> None:
    """One line with markers for each labelled curve."""
    for index, (label, points) in enumerate(lines.items()):
        x, y = np.asarray(points, dtype=float).reshape(-1, 2).T
        axes.plot(x, y, color=color_of(index), marker=MARKERS[index % len(MARKERS)], label=_legible(label))
    axes.set_ylabel(ylabel)
    axes.set_xlabel(xlabel)


def thin_lines(axes: Any, lines: Mapping[str, Curve], colors: Sequence[str] = SERIES) -> None:
    """Thin, pale lines without markers, behind :func:`curves`."""
    for index, (label, points) in enumerate(lines.items()):
        if points:
            x, y = np.asarray(points, dtype=float).T
            label = label if colors is not SERIES else "_"  # series have their label from `curves`
            axes.plot(x, y, color=colors[index % len(colors)], linewidth=0.9, alpha=0.5, label=label)


def band(axes: Any, x: Sequence[float], low: Sequence[float], high: Sequence[float], index: int) -> None:
    """A pale band between two curves in the colour of series `index`."""
    axes.fill_between(x, low, high, color=color_of(index), alpha=0.15, linewidth=0)


def legend(axes: Any, columns: int = 4) -> None:
    """The legend above the axes, out of the way of the data."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, borderaxespad=0.2, handlelength=1.6, columnspacing=1.4
    )


def intervals(
    axes: Any, groups: Sequence[str], series: Mapping[str, Sequence[tuple[float, float, float] | None]], xlabel: str
) -> None:
    """For each group a row of (value, low, high) points, one a series, on a log scale."""
    from matplotlib.ticker import LogLocator, NullLocator

    offset = 0.7 / max(1, len(series))
    for index, (label, points) in enumerate(series.items()):
        rows = [(g + (index - (len(series) - 1) / 2) * offset, p) for g, p in enumerate(points) if p is not None]
        if not rows:
            continue
        y = [place for place, _ in rows]
        value, low, high = np.array([point for _, point in rows]).T
        axes.errorbar(
            value,
            y,
            xerr=[value - low, high - value],
            fmt=MARKERS[index % len(MARKERS)],
            color=color_of(index),
            label=_legible(label),
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: formats.significant(value, 1))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(range(len(groups)), groups, color=INK)
    axes.invert_yaxis()
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(xlabel)


def confusion(axes: Any, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
    """A confusion matrix: rows are true labels, columns predictions, shades the share of the row."""
    from matplotlib.patches import Rectangle

    matrix = np.asarray(counts, dtype=float)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    for (row, column), value in np.ndenumerate(matrix):
        place = (column - 0.5, row - 0.5)
        axes.add_patch(Rectangle(place, 1, 1, facecolor=SERIES[0], alpha=0.04 + 0.5 * shares[row, column], linewidth=0))
        axes.text(column, row, formats.count(value), ha="center", va="center")
    axes.set(xlim=(-0.5, len(labels) - 0.5), ylim=(len(labels) - 0.5, -0.5), xlabel="routed to", ylabel="true language")
    axes.set_xticks(range(len(labels)), labels, color=INK)
    axes.set_yticks(range(len(labels)), labels, color=INK)
    axes.set_aspect("equal")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def thin(points: Sequence[tuple[float, float]], most: int = 200) -> list[list[float]]:
    """At most `most` points: means over equal runs of neighbours, rounded to 6 digits; fewer are kept as they are."""
    if len(points) <= most:
        return [[float(x), float(y)] for x, y in points]
    return [
        [float(v) for v in np.round(chunk.mean(axis=0), 6)]
        for chunk in np.array_split(np.asarray(points, dtype=float), most)
    ]


def _legible(label: str) -> str:
    """Matplotlib leaves labels that begin with an underscore out of the legend."""
    return label.lstrip("_") or "?"


def _literal(text: str) -> str:
    """Text that a regular expression's replacement takes as it is."""
    return text.replace("\\", r"\\")
