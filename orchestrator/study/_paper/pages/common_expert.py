"""The page on the common expert (RQ5): the paper's Table 5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log
from statistics import fmean

from orchestrator.reporting.document import Section
from orchestrator.reporting.effects import Effect, bounds, effect, minus, nats, per_language
from orchestrator.reporting.figures import Figure
from orchestrator.reporting.formats import perplexity, share, signed
from orchestrator.reporting.tables import Cell, Table, low_is_warm, table
from orchestrator.study._paper.pages import settings
from orchestrator.study._paper.pages.claims import Answer, Claim, answer
from orchestrator.study._paper.pages.data import Findings, Json, Setup
from orchestrator.study._paper.pages.settings import Setting
from orchestrator.study._paper.pages.setups import perplexity_figure

ALL = "all"


@dataclass(frozen=True)
class Row:
    """A setting with its perplexities: by language, and their geometric mean."""

    setting: Setting
    by_language: dict[str, Effect]
    geometric: Effect

    @property
    def arithmetic(self) -> float:
        """The paper's "All": the mean of the perplexities."""
        return fmean(found.value for found in self.by_language.values())

    def data(self) -> Json:
        """As in the paper's Table 5, with the geometric mean and intervals."""
        return {
            "common_expert": self.setting.common,
            "routable": list(self.setting.routable),
            **{language: found.value for language, found in self.by_language.items()},
            "all": self.arithmetic,
            "all_geometric": self.geometric.value,
            "intervals": {language: found.interval for language, found in self.by_language.items()},
        }


def common(study: Findings, paper: Json) -> Answer:
    """RQ5."""
    theirs: Sequence[Json] = paper["table5_moe_ce_inference"]
    numbers: Json = {}
    sections = []
    first: dict[str, Effect] = {}
    for setup in (setup for setup in study.setups.values() if setup.has_common):
        rows, gains = _rows(setup, study), _gains(setup, study)
        name = setup.name if first else "moe_ce"
        numbers[f"table5_{name}_inference"] = [row.data() for row in rows]
        numbers[f"common_expert_{name}"] = {what: found.data() for what, found in gains.items()}
        blocks = (_table5(setup, rows, study, theirs), _gains_table(gains, study), _figure(setup, rows, study))
        sections.append(
            Section(f"settings-{name}", f"Settings of inference: {setup.label}", _points(rows, theirs), blocks)
        )
        first = first or gains
    question = (
        "Does adding a common expert improve the overall performance of the MoE system and the performance of each "
        "expert independently? (section 4.6)"
    )
    return answer("rq5", "RQ5 common expert", question, _claims(first, theirs), sections, numbers)


def _rows(setup: Setup, study: Findings) -> list[Row]:
    found = []
    for setting in settings.settings(study.languages):
        runs = settings.in_setting(setup, setting)
        each = {lang: one.transformed(exp) for lang, one in per_language(runs, study.confidence).items()}
        found.append(Row(setting, each, effect(runs, study.confidence).transformed(exp)))
    return found


def _gains(setup: Setup, study: Findings) -> dict[str, Effect]:
    """Loss with the common expert less that without it, all experts routable: over all languages, and of each."""
    runs = minus(settings.routed(setup, common=True), settings.routed(setup, common=False))
    return {ALL: effect(runs, study.confidence), **per_language(runs, study.confidence)}


def _claims(gains: dict[str, Effect], theirs: Sequence[Json]) -> list[Claim]:
    everything = max((row["routable"] for row in theirs), key=len)
    on, off = _on_and_off(theirs, everything)
    paper = {language: log(on[language] / off[language]) for language in everything}
    overall = Claim(
        "RQ5", "The common expert improves the mixture", "with it less without", signed(fmean(paper.values())),
        gains.get(ALL), "the study has no setup with a common expert", most=0.0,
    )  # fmt: skip
    least = max((language for language in gains if language != ALL), key=lambda lang: gains[lang].value, default="")
    every = replace(
        overall,
        text="It improves every language",
        number=f"language that gains least, {least}" if least else "language that gains least",
        paper=signed(max(paper.values())),
        effect=gains.get(least),
    )
    return [overall, every]


def _on_and_off(rows: Sequence[Json], everything: Sequence[str]) -> list[Json]:
    """With the common expert and without it, all experts routable."""
    return [
        next(row for row in rows if row["common_expert"] is common and row["routable"] == list(everything))
        for common in (True, False)
    ]


def _points(rows: Sequence[Row], theirs: Sequence[Json]) -> tuple[str, ...]:
    on, off = _on_and_off(theirs, max((row["routable"] for row in theirs), key=len))
    return (
        f"With the common expert the arithmetic mean of the perplexities changes by "
        f"{signed(rows[0].arithmetic - rows[1].arithmetic, 2)} (the paper: {signed(on['all'] - off['all'], 2)}). "
        "Points of perplexity depend on its height; the verdicts are on losses.",
    )


def _table5(setup: Setup, rows: Sequence[Row], study: Findings, theirs: Sequence[Json]) -> Table:
    languages = study.languages
    comparable = set(languages) == {key for row in theirs for key in row["routable"]}
    papers = {(row["common_expert"], frozenset(row["routable"])): row for row in theirs} if comparable else {}
    heat = {lang: low_is_warm([row.by_language[lang].value for row in rows]) for lang in languages}
    shown: list[list[Cell | str]] = []
    for number, row in enumerate(rows):
        paper = papers.get((row.setting.common, frozenset(row.setting.routable)), {})
        beside = {key: f"({perplexity(paper[key])})" if key in paper else "" for key in (*languages, "all")}
        cells = [
            Cell(perplexity(found.value), beside[lang], lang in row.setting.routable, heat[lang][number])
            for lang, found in row.by_language.items()
        ]
        both = (Cell(perplexity(row.arithmetic), beside["all"]), perplexity(row.geometric.value))
        shown.append([row.setting.label, "✓" if row.setting.common else "✗", *cells, *both])
    note = (
        f"{'In brackets: the paper.' if comparable else 'The paper has other languages.'} Bold: the language's own "
        f"expert may serve. All: the arithmetic mean, as in the paper. On the {study.main['split']} split; intervals "
        "are in results.json."
    )
    columns = ("routable experts", "common expert", *languages, "all", "all, geometric")
    caption = f"Perplexity of {setup.label} in each setting of inference, as in the paper's Table 5"
    return table(caption, columns, shown, words=(1,), note=note)


def _gains_table(gains: dict[str, Effect], study: Findings) -> Table:
    rows = [(name, nats(found), bounds(found.over_seeds), bounds(found.over_blocks)) for name, found in gains.items()]
    note = (
        f"Loss with the common expert less loss without it, in nats a token, all experts routable, with "
        f"{share(study.confidence, 0)} intervals over seeds and over documents. Below zero it helps."
    )
    return table("Effect of the common expert", ("text", "difference", "over seeds", "over documents"), rows, note=note)


def _figure(setup: Setup, rows: Sequence[Row], study: Findings) -> Figure:
    labels = ("expert and common", "expert alone", "common alone")
    series = {label: row.by_language for label, row in zip(labels, (rows[0], rows[1], rows[-1]), strict=True)}
    caption = f"{setup.label}: perplexity with the routed expert and the common one, and with each alone."
    return perplexity_figure(f"rq5-{setup.name}", caption, series, study)
