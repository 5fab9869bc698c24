"""Validation losses of all languages over sequences of sessions (the paper's Figure 10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.reporting.figures import INK, RULE, Figure, band, color_of, draw
from orchestrator.reporting.formats import compact
from orchestrator.study._paper.pages.data import Findings
from orchestrator.study._paper.pages.forgetting import Chain, Experiment, boundaries, sequence

Mean = tuple[list[float], list[float], list[float], list[float]]
"""Tokens, means over the seeds, lowest, highest."""


def figures(experiments: Sequence[Experiment], study: Findings) -> tuple[Figure, ...]:
    """A panel for each experiment: those in several sessions, languages added, and those in one session."""
    drawn = [each for each in experiments if each.chains]
    several = [each for each in drawn if each.part in "AC" and _sessions(each) > 1]
    added = [each for each in drawn if each.part == "D"]
    single = [each for each in drawn if _sessions(each) == 1]
    seeds = "" if len(study.seeds) == 1 else " Means over seeds; bands reach from the lowest to the highest."
    kinds = (
        ("forgetting-sequential", several, "Language after language (the paper's Figure 10): validation loss of every "
         "language over all sessions; vertical lines and the names above them: what is learned from there on."),
        ("forgetting-added", added, "A language added to a finished mixture: validation loss of every language."),
        ("forgetting-together", single, "All languages together, in one session: validation loss of every language."),
    )  # fmt: skip
    return tuple(_figure(name, each, caption + seeds, study) for name, each, caption in kinds if each)


def _sessions(experiment: Experiment) -> int:
    return max(len(chain) for chain in experiment.chains.values())


def _figure(name: str, experiments: Sequence[Experiment], caption: str, study: Findings) -> Figure:
    languages = [lang for lang in study.languages if any(_mean(list(e.chains.values()), lang)[0] for e in experiments)]

    def paint(canvas: Any) -> None:
        grid = canvas.subplots(len(experiments), 1, sharey=True, squeeze=False)[:, 0]
        for axes, experiment in zip(grid, experiments, strict=True):
            _panel(axes, experiment, study.languages)
        grid[-1].set_xlabel("tokens trained on")
        handles = {line.get_label(): line for axes in grid for line in axes.lines if line.get_label() in languages}
        shown = [language for language in languages if language in handles]
        canvas.legend([handles[language] for language in shown], shown, loc="outside upper left", ncols=8)

    told = []
    for experiment in experiments:
        means = {lang: _mean(list(experiment.chains.values()), lang)[1] for lang in study.languages}
        ends = ", ".join(f"{lang} {losses[-1]:.2f}" for lang, losses in means.items() if losses)
        told.append(f"{experiment.label}, at the end: {ends}.")
    return draw(name, caption, " ".join([caption, *told]), paint, (7.0, 0.7 + 2.3 * len(experiments)))


def _panel(axes: Any, experiment: Experiment, languages: Sequence[str]) -> None:
    chains = list(experiment.chains.values())
    for index, language in enumerate(languages):
        tokens, means, low, high = _mean(chains, language)
        if not tokens:
            continue
        if len(chains) > 1:
            band(axes, tokens, low, high, index)
        marker = {"marker": "o", "markersize": 2.5} if len(tokens) < 60 else {}
        axes.plot(tokens, means, color=color_of(index), label=language, **marker)
    sessions = boundaries(chains[0])
    for begin, _, learned in sessions if len(sessions) > 1 else ():
        axes.axvline(begin, color=RULE, linewidth=1.0, zorder=0)
        axes.annotate(learned, (begin, 1), (3, -3), xycoords=("data", "axes fraction"), textcoords="offset points",
                      va="top", fontsize=8.5, color=INK)  # fmt: skip
    axes.set_xlim(0, sessions[-1][1])
    axes.xaxis.set_major_formatter(lambda value, _: compact(value))
    axes.set_ylabel("nats a token")
    axes.set_title(f"{experiment.part}: {experiment.label}")


def _mean(chains: Sequence[Chain], language: str) -> Mean:
    """At the places that all seeds have."""
    curves = [dict(sequence(chain, language)) for chain in chains]
    tokens = sorted(set.intersection(*map(set, curves)))
    losses = np.array([[curve[place] for place in tokens] for curve in curves])
    if not tokens:
        return [], [], [], []
    return tokens, losses.mean(axis=0).tolist(), losses.min(axis=0).tolist(), losses.max(axis=0).tolist()
