"""The page on the mixtures (RQ4): the paper's Table 4, differences between setups, robustness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import exp, inf, log
from statistics import fmean
from typing import Any

from orchestrator.reporting.document import Section
from orchestrator.reporting.effects import Effect, Runs, bounds, effect, minus, nats, per_language
from orchestrator.reporting.figures import Figure, draw, intervals, legend
from orchestrator.reporting.formats import interval, perplexity, share, signed
from orchestrator.reporting.model_sections import SETUPS
from orchestrator.reporting.tables import Cell, Table, table
from orchestrator.study._paper.pages import settings
from orchestrator.study._paper.pages.claims import MARGIN, Answer, Claim, answer
from orchestrator.study._paper.pages.data import Findings, Json, Setup
from orchestrator.study._paper.pages.robustness import robustness, robustness_numbers


@dataclass(frozen=True)
class Variant:
    """A row of the paper's Table 4.

    Attributes:
        key: in `results.json`.
        label: for people.
        common: whether the common expert is used, where there is one.
        paper: its key in the paper's Table 4; "" where the paper has no such row.
    """

    key: str
    label: str
    setup: Setup
    common: bool
    paper: str
    confidence: float

    @cached_property
    def runs(self) -> Runs:
        """Losses through the router."""
        return settings.routed(self.setup, common=self.common)

    @cached_property
    def perplexities(self) -> dict[str, Effect]:
        """By language."""
        return {
            language: found.transformed(exp) for language, found in per_language(self.runs, self.confidence).items()
        }


def variants(study: Findings) -> tuple[Variant, ...]:
    """The mixtures as they are compared: those with a common expert without it and with it."""
    found = []
    for setup in study.setups.values():
        paper = SETUPS.get(setup.type, ("", ""))[1] if study.first(setup.type) is setup else ""
        if not setup.has_common:
            found.append(Variant(setup.name, setup.label, setup, False, paper, study.confidence))
            continue
        for common, what, sign in ((False, "without_common", "w/o CE"), (True, "with_common", "+ CE")):
            key, label = f"{setup.name}_{what}", f"{setup.label} {sign}"
            theirs = paper.replace("with_common", what)
            found.append(Variant(key, label, setup, common, theirs, study.confidence))
    return tuple(found)


def compared(study: Findings, paper: Json) -> Answer:
    """RQ4."""
    rows, theirs = variants(study), paper["table4_perplexity"]
    pairs = _differences(rows, study.confidence)
    numbers = {
        "table4_perplexity": {v.key: {lang: found.value for lang, found in v.perplexities.items()} for v in rows},
        "table4_perplexity_interval": {
            v.key: {lang: found.interval for lang, found in v.perplexities.items()} for v in rows
        },
        "table4_differences": [pair.data() for pair in pairs],
        "robustness": {v.key: robustness_numbers(v.setup, v.common, study.confidence) for v in rows},
    }
    sections = [Section("table4", "Perplexity", (), (_table4(rows, study, theirs), _figure(rows, study)))]
    if pairs:
        sections.append(
            Section("differences", "Differences between the setups", (), (_differences_table(pairs, study),))
        )
    used = {v.label: (v.setup, v.common) for v in rows}
    sections.append(robustness(used, study.confidence))
    question = "How do the three MoE architectures compare in terms of performance and robustness? (section 4.5)"
    return answer("rq4", "RQ4 setups", question, _claims(rows, study, theirs), sections, numbers)


def _claims(rows: Sequence[Variant], study: Findings, theirs: Json) -> list[Claim]:
    known = {variant.paper: variant for variant in rows if variant.paper}

    def claim(first: str, text: str, least: float, most: float) -> Claim:
        theirs_less = fmean(log(theirs[first][lang] / theirs["ple"][lang]) for lang in theirs["ple"])
        label = {"jeet": "JEET", "moe_ce_with_common": "MoE-CE + CE"}.get(first, "MoE-CE w/o CE")
        found = None
        if {first, "ple"} <= known.keys():
            found = effect(minus(known[first].runs, known["ple"].runs), study.confidence)
        missing = f"the study lacks PLE or {label.split()[0]}"
        return Claim("RQ4", text, f"{label} less PLE", signed(theirs_less), found, missing, least, most)

    return [
        claim("jeet", "PLE and JEET perform alike", -MARGIN, MARGIN),
        claim("moe_ce_with_common", "MoE-CE with its common expert comes up to PLE", -inf, MARGIN),
        claim("moe_ce_without_common", "MoE-CE without its common expert lags behind PLE", 0, inf),
    ]


@dataclass(frozen=True)
class _Pair:
    """The loss of one variant less another's."""

    first: Variant
    second: Variant
    all: Effect
    by_language: Mapping[str, Effect]

    def data(self) -> Json:
        """For `results.json`."""
        each = {language: found.data() for language, found in self.by_language.items()}
        return {"of": self.first.key, "less": self.second.key, **self.all.data(), "by_language": each}


def _differences(rows: Sequence[Variant], confidence: float) -> list[_Pair]:
    found = []
    for second, first in combinations(rows, 2):
        runs = minus(first.runs, second.runs)
        found.append(_Pair(first, second, effect(runs, confidence), per_language(runs, confidence)))
    return found


def _differences_table(pairs: Sequence[_Pair], study: Findings) -> Table:
    rows: list[list[Cell | str]] = []
    for pair in pairs:
        around = [bounds(pair.all.over_seeds), bounds(pair.all.over_blocks)]
        cells = [nats(pair.by_language[language]) for language in study.languages]
        rows.append([f"{pair.first.label} less {pair.second.label}", nats(pair.all), *around, *cells])
    columns = ("loss", "difference", "over seeds", "over documents", *study.languages)
    note = (
        f"Mean loss over the languages, in nats a token, with {share(study.confidence, 0)} intervals: Student's t of "
        "the paired differences over seeds, paired bootstrap over documents. Below zero, the first is better. "
        "Intervals of single languages are in results.json."
    )
    return table("Pairwise differences of mean loss", columns, rows, note=note)


def _table4(rows: Sequence[Variant], study: Findings, theirs: Json) -> Table:
    shown: list[list[Cell | str]] = []
    for variant in rows:
        cells = [Cell(perplexity(found.value), interval(found.interval)) for found in variant.perplexities.values()]
        shown.append([variant.label, *cells, *_means([found.value for found in variant.perplexities.values()])])
        row = theirs.get(variant.paper, {})
        if set(row) == set(study.languages):
            values = [row[language] for language in study.languages]
            shown.append([f"{variant.label}, the paper's", *map(perplexity, values), *_means(values)])
    note = (
        f"Through the router, on the {study.main['split']} split, with {share(study.confidence, 0)} intervals over "
        f"{study.over}. CE: common expert. Corpora, tokenizers and sizes differ: compare the pattern, not the height."
    )
    columns = ("architecture", *study.languages, "arithmetic mean", "geometric mean")
    return table("Perplexity of the setups, as in the paper's Table 4", columns, shown, note=note)


def _means(values: Sequence[float]) -> list[str]:
    return [perplexity(fmean(values)), perplexity(exp(fmean(map(log, values))))]


def _figure(rows: Sequence[Variant], study: Findings) -> Figure:
    caption = "Perplexity of each setup through the router, with intervals (the paper's Table 4)."
    return perplexity_figure("rq4-perplexity", caption, {v.label: v.perplexities for v in rows}, study)


def perplexity_figure(name: str, caption: str, series: Mapping[str, Mapping[str, Effect]], study: Findings) -> Figure:
    """Perplexities by label and language, as points with intervals."""
    points: dict[str, list[tuple[float, float, float] | None]] = {
        label: [(found.value, *(found.interval or (found.value, found.value))) for found in each.values()]
        for label, each in series.items()
    }

    def paint(canvas: Any) -> None:
        axes = canvas.subplots()
        intervals(axes, study.languages, points, "perplexity (log scale; lower is better)")
        axes.set_ylabel("text in")
        legend(axes, columns=4)

    told = "; ".join(
        f"{label}: " + ", ".join(f"{language} {perplexity(found.value)}" for language, found in each.items())
        for label, each in series.items()
    )
    return draw(name, caption, f"{caption} {told}.", paint, (7.0, 1.4 + 0.65 * len(study.languages)))
