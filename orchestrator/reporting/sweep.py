"""The report of a sweep: configurations compared over paired seeds, with intervals and a verdict for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.config.sweep import Reference
from orchestrator.reporting import sentences, sweep_figures
from orchestrator.reporting.comparison import FINISHED, Configuration, Estimate, Trial, group
from orchestrator.reporting.document import Document, Section, write
from orchestrator.reporting.formats import MISSING, count, share
from orchestrator.reporting.tables import Cell, Table, table

WEIGHTS = 20
"""Steps whose weights `results.json` has of each trial, about."""


def write_sweep_report(
    trials: Sequence[Trial],
    out: Path,
    title: str,
    *,
    description: str = "",
    references: Sequence[Reference] = (),
    confidence: float = 0.95,
) -> str:
    """Write `index.html`, `report.md`, `results.json` and `figures/` of a sweep into `out`.

    Args:
        trials: at least one, see :class:`Trial`; the first one's configuration is what the others are compared with.
        out: folder to write into.
        title: of the sweep.
        description: what it asks.
        references: the paper's numbers, to be shown beside ours.
        confidence: coverage of the intervals.

    Returns:
        The verdicts, one a line, for the terminal.

    Raises:
        ValueError: no trials.
    """
    configurations = group(trials)
    verdicts = [_verdict(c, configurations[0], confidence) for c in configurations[1:]]
    lost = [trial for trial in trials if trial["status"] != FINISHED]
    sections = [compared(configurations, confidence)]
    if references:
        sections.append(Section("paper", "Beside the paper", (), (_paper(configurations, references, confidence),)))
    sections.append(compute(configurations))
    if lost:
        sections.append(Section("unfinished", "Trials that did not finish", (), (_unfinished(configurations),)))
    facts = (
        ("Configurations", count(len(configurations))),
        ("Trials", count(len(trials))),
        ("Finished", count(len(trials) - len(lost))),
        ("Seeds", ", ".join(str(seed) for seed in sorted({trial["seed"] for trial in trials}))),
    )
    summary = tuple(verdicts) or ("There is only one configuration: nothing to compare.",)
    document = Document(title, description, facts, summary, tuple(sections))
    write(document, numbers(title, configurations, references, confidence), out)
    return "\n".join(verdicts)


def _verdict(configuration: Configuration, baseline: Configuration, confidence: float) -> str:
    difference = configuration.minus(baseline, confidence)
    if not difference.n:
        return f"{configuration.label} against {baseline.label}: no seed finished in both."
    verdict = sentences.difference(difference.mean, difference.margin)
    seeds = f"{difference.n} paired seed{'s' * (difference.n > 1)}, {share(confidence, 0)} interval"
    return f"{configuration.label} against {baseline.label}: {verdict} ({seeds})."


def compared(configurations: Sequence[Configuration], confidence: float) -> Section:
    """Final losses with their paired differences to the first configuration's, and curves."""
    figures = (sweep_figures.losses(configurations), sweep_figures.differences(configurations, confidence))
    shown = tuple(figure for figure in figures if figure)
    return Section("comparison", "Comparison", (), (_comparison(configurations, confidence), *shown))


def _comparison(configurations: Sequence[Configuration], confidence: float) -> Table:
    baseline, means = configurations[0], [configuration.mean(confidence) for configuration in configurations]
    best = min((mean.mean for mean in means if mean.n), default=math.nan)
    rows: list[list[Cell | str]] = []
    for configuration, mean in zip(configurations, means, strict=True):
        difference = "baseline" if configuration is baseline else f"{configuration.minus(baseline, confidence):+}"
        finished = f"{len(configuration.losses)} of {len(configuration.trials)}"
        rows.append([configuration.label, Cell(f"{mean}", strong=mean.mean == best), difference, finished])
    note = (
        f"Final validation loss in nats a token: mean over seeds ± half of the {share(confidence, 0)} t interval "
        "(wide with few seeds). Differences are paired by seed; below zero beats the baseline. Each interval stands "
        "for itself: of twenty true zeros one is expected to look like a difference. Bold: the lowest mean."
    )
    return table("Final validation loss", ("configuration", "loss", "difference", "seeds finished"), rows, note=note)


def _paper(configurations: Sequence[Configuration], references: Sequence[Reference], confidence: float) -> Table:
    rows = []
    for reference in references:
        ours = _ours(configurations, reference, confidence)
        verdict = sentences.difference(ours.mean, ours.margin) if ours.n else "no seed finished in both"
        paper = f"{reference.paper:+.3f}".replace("-", "−")
        rows.append((reference.what, paper, f"{ours:+}", verdict, reference.source))
    note = "Differences of evaluation losses in nats a token. The paper gives no intervals and no number of seeds."
    return table("The paper's numbers and ours", ("what", "paper", "ours", "verdict", "source"), rows, (3, 4), note)


def _ours(configurations: Sequence[Configuration], reference: Reference, confidence: float) -> Estimate:
    known = {configuration.label: configuration for configuration in configurations}
    first, second = (known.get(name) for name in reference.ours)
    return first.minus(second, confidence) if first and second else Estimate.of([], confidence)


def compute(configurations: Sequence[Configuration]) -> Section:
    """What each configuration took, and the weights of its losses."""

    def number(value: float) -> str:
        return MISSING if math.isnan(value) else count(round(value))

    rows = [
        (c.label, *(number(c.typical(key)) for key in ("tokens", "seconds", "tokens_per_second")))
        for c in configurations
    ]
    note = (
        "Medians over seeds. Seconds include validation; speeds are of the optimizer steps alone, beside other trials."
    )
    found = table(
        "Tokens and time of a trial", ("configuration", "tokens", "seconds", "tokens a second"), rows, note=note
    )
    weights = sweep_figures.weights(configurations)
    return Section("compute", "Compute and weights", (), (found, weights) if weights else (found,))


def _unfinished(configurations: Sequence[Configuration]) -> Table:
    rows = [
        (configuration.label, str(trial["seed"]), trial["status"], trial["error"] or MISSING)
        for configuration in configurations
        for trial in configuration.trials
        if trial["status"] != FINISHED
    ]
    return table("Why", ("configuration", "seed", "status", "reason"), rows, words=(2, 3))


def _kept(trial: Trial) -> dict[str, Any]:
    """A trial for `results.json`: its configuration stands there already, and some of its weights will do."""
    rows = trial.get("weights", ())
    kept = rows[:: max(1, len(rows) // WEIGHTS)]
    return {**{key: value for key, value in trial.items() if key not in ("name", "config")}, "weights": kept}


def numbers(
    title: str, configurations: Sequence[Configuration], references: Sequence[Reference], confidence: float
) -> dict[str, Any]:
    """All numbers of a comparison, for `results.json`."""

    def entry(configuration: Configuration) -> dict[str, Any]:
        mean = configuration.mean(confidence)
        difference = configuration.minus(configurations[0], confidence)
        return {
            "label": configuration.label,
            "config": dict(configuration.trials[0]["config"]),
            "losses": configuration.losses,
            "mean": mean.mean,
            "margin": mean.margin,
            "difference": difference.mean,
            "difference_margin": difference.margin,
            "pairs": difference.n,
            "verdict": _verdict(configuration, configurations[0], confidence),
            "trials": [_kept(trial) for trial in configuration.trials],
        }

    def beside(reference: Reference) -> dict[str, Any]:
        ours = _ours(configurations, reference, confidence)
        return {**reference.model_dump(mode="json"), "difference": ours.mean, "margin": ours.margin, "pairs": ours.n}

    return {
        "title": title,
        "confidence": confidence,
        "configurations": [entry(c) for c in configurations],
        "references": [beside(reference) for reference in references],
    }
