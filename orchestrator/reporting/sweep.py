"""The report of a sweep: configurations compared over paired seeds, with intervals and a verdict for each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from orchestrator.reporting import sentences
from orchestrator.reporting.document import Document, Section, write
from orchestrator.reporting.figures import Figure, band, curves, draw, legend
from orchestrator.reporting.formats import MISSING, count, share
from orchestrator.reporting.tables import Cell, Table, table

FINISHED = "finished"


class Trial(TypedDict):
    """One trial of a sweep.

    Keys:
        config: the overrides of the recipe (dotted field -> value) that this trial ran with; equal ones are one
            configuration, and the first trial's is the baseline.
        seed: trials of equal seed are compared with each other.
        curve: (optimizer step, validation loss in nats a token) in order; may be empty.
        final_loss: the trial's result; None where it has none.
        status: "finished", or what became of it ("failed", "stopped"). error: why; "" where it finished.
        name: of the configuration, for people.
        weights: (optimizer step, alpha, beta) in order. tokens, seconds: trained on, and in. tokens_per_second: of the
            optimizer steps alone. All of them where it finished.
    """

    config: Mapping[str, Any]
    seed: int
    curve: Sequence[tuple[int, float]]
    final_loss: float | None
    status: str
    error: str
    name: NotRequired[str]
    weights: NotRequired[Sequence[tuple[int, float, float]]]
    tokens: NotRequired[int]
    seconds: NotRequired[float]
    tokens_per_second: NotRequired[float]


@dataclass(frozen=True)
class Estimate:
    """A mean with the half-width of its t interval, NaN below two values, over `n` values."""

    mean: float
    margin: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float], confidence: float) -> Estimate:
        """Mean and Student's t interval of independent values; NaN where there are none."""
        from scipy.special import stdtrit

        n = len(values)
        if n < 2:
            return cls(values[0] if values else math.nan, math.nan, n)
        error = float(np.std(values, ddof=1)) / math.sqrt(n)
        return cls(float(np.mean(values)), float(stdtrit(n - 1, (1 + confidence) / 2)) * error, n)

    def __format__(self, sign: str) -> str:
        """Four decimals with the margin, where there is one; "+" shows the sign of the mean, for differences."""
        if not self.n:
            return MISSING
        margin = "" if math.isnan(self.margin) else f" ± {self.margin:.4f}"
        return f"{self.mean:{sign}.4f}{margin}".replace("-", "−")


@dataclass(frozen=True)
class Configuration:
    """Trials that differ only in their seed."""

    label: str
    trials: tuple[Trial, ...]

    @property
    def losses(self) -> dict[int, float]:
        """Seed -> final loss of the trials that finished with a finite one."""
        return {
            trial["seed"]: loss
            for trial in self.trials
            if trial["status"] == FINISHED and (loss := trial["final_loss"]) is not None and math.isfinite(loss)
        }

    def mean(self, confidence: float) -> Estimate:
        """The final loss over the seeds."""
        return Estimate.of(list(self.losses.values()), confidence)

    def minus(self, other: Configuration, confidence: float) -> Estimate:
        """The paired difference of final losses over the seeds that both finished."""
        both = sorted(self.losses.keys() & other.losses)
        return Estimate.of([self.losses[seed] - other.losses[seed] for seed in both], confidence)


def write_sweep_report(
    trials: Sequence[Trial], out: Path, title: str, *, description: str = "", confidence: float = 0.95
) -> str:
    """Write `index.html`, `report.md`, `results.json` and `figures/` of a sweep into `out`.

    Args:
        trials: at least one, see :class:`Trial`; the first one's configuration is what the others are compared with.
        out: folder to write into.
        title: of the sweep.
        description: what it asks.
        confidence: coverage of the intervals.

    Returns:
        The verdicts, one a line, for the terminal.

    Raises:
        ValueError: no trials.
    """
    configurations = group(trials)
    verdicts = [_verdict(c, configurations[0], confidence) for c in configurations[1:]]
    plots = (_plot(configurations),) if any(trial["curve"] and trial["status"] == FINISHED for trial in trials) else ()
    lost = [trial for trial in trials if trial["status"] != FINISHED]
    sections = [Section("comparison", "Comparison", (), (_comparison(configurations, confidence), *plots))]
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
    write(document, _results(title, configurations, confidence), out)
    return "\n".join(verdicts)


def group(trials: Sequence[Trial]) -> list[Configuration]:
    """Trials by configuration, in the order of their first appearance, labelled by the fields in which they differ.

    Raises:
        ValueError: no trials.
    """
    if not trials:
        raise ValueError("a sweep report needs at least one trial")
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        found.setdefault(repr(sorted(trial["config"].items())), []).append(trial)
    configs = [members[0]["config"] for members in found.values()]
    fields = list(dict.fromkeys(key for config in configs for key in config))
    varying = [key for key in fields if len({repr(config.get(key)) for config in configs}) > 1] or fields
    return [
        Configuration(members[0].get("name") or _label(config, varying), tuple(members))
        for config, members in zip(configs, found.values(), strict=True)
    ]


def _label(config: Mapping[str, Any], fields: Sequence[str]) -> str:
    """The fields' last names with their values; a plug-in reads as a call: schedule=fixed(alpha=0.5)."""
    last = [field.rsplit(".", 1)[-1] for field in fields]
    names = {field: name if last.count(name) == 1 else field for field, name in zip(fields, last, strict=True)}
    parts = [f"{names[field]}={_value(config[field])}" for field in fields if field in config]
    return ", ".join(parts) or "as in the recipe"


def _value(value: Any) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    options = ", ".join(f"{key}={_value(item)}" for key, item in value.items() if key != "type")
    return str(value.get("type", "")) + (f"({options})" if options else "")


def _verdict(configuration: Configuration, baseline: Configuration, confidence: float) -> str:
    difference = configuration.minus(baseline, confidence)
    if not difference.n:
        return f"{configuration.label} against {baseline.label}: no seed finished in both."
    verdict = sentences.difference(difference.mean, difference.margin)
    seeds = f"{difference.n} paired seed{'s' * (difference.n > 1)}, {share(confidence, 0)} interval"
    return f"{configuration.label} against {baseline.label}: {verdict} ({seeds})."


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
        "(wide with few seeds). Differences are paired by seed; below zero beats the baseline. Bold: the lowest mean."
    )
    return table("Final validation loss", ("configuration", "loss", "difference", "seeds finished"), rows, note=note)


def _unfinished(configurations: Sequence[Configuration]) -> Table:
    rows = [
        (configuration.label, str(trial["seed"]), trial["status"], trial["error"] or "–")
        for configuration in configurations
        for trial in configuration.trials
        if trial["status"] != FINISHED
    ]
    return table("Why", ("configuration", "seed", "status", "reason"), rows, words=(2, 3))


def _plot(configurations: Sequence[Configuration]) -> Figure:
    """Mean validation loss over the finished seeds against the step, with bands from the lowest to the highest."""
    means: dict[str, list[list[float]]] = {}
    bands: list[tuple[list[int], list[float], list[float]]] = []
    for configuration in configurations:
        by_step: dict[int, list[float]] = {}
        for trial in configuration.trials:
            # A curve that ends early would make the mean jump.
            for step, loss in trial["curve"] if trial["status"] == FINISHED else ():
                by_step.setdefault(step, []).append(loss)
        steps = sorted(by_step)
        means[configuration.label] = [[step, float(np.mean(by_step[step]))] for step in steps]
        bands.append((steps, [min(by_step[s]) for s in steps], [max(by_step[s]) for s in steps]))

    def paint(canvas: Any) -> None:
        axes = canvas.subplots()
        for index, (steps, low, high) in enumerate(bands):
            band(axes, steps, low, high, index)
        curves(axes, means, "validation loss, nats a token")
        legend(axes, columns=1 if max(map(len, means)) > 24 else 3)

    caption = "Validation loss against the step: mean over seeds; bands reach from the lowest to the highest seed."
    return draw("validation-loss", caption, caption, paint, (7.0, 3.4 + 0.12 * len(means)))


def _results(title: str, configurations: Sequence[Configuration], confidence: float) -> dict[str, Any]:
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
            "trials": [dict(trial) for trial in configuration.trials],
        }

    return {"title": title, "confidence": confidence, "configurations": [entry(c) for c in configurations]}
