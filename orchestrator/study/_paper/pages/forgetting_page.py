"""The page on forgetting (RQ6): the paper's Table 6 and Figure 10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from orchestrator.reporting.document import Section
from orchestrator.reporting.effects import Effect, nats, span
from orchestrator.reporting.formats import GAP, share, signed
from orchestrator.reporting.tables import Cell, Table, table
from orchestrator.study._paper.pages.claims import MARGIN, Answer, Claim, answer
from orchestrator.study._paper.pages.data import Findings, Json
from orchestrator.study._paper.pages.forgetting import Experiment, by_language, experiments, mean_over_languages
from orchestrator.study._paper.pages.forgetting_figures import figures

Measured = Mapping[str, Mapping[str, tuple[Effect, float] | None]]
"""Key of an experiment -> language -> nats a token, and the share of the lowest loss."""
MISSING = "the study has no sessions of languages one after the other"
QUESTION = (
    "How does the modular MoE architecture compare to non-modular approaches in terms of catastrophic forgetting? "
    "(section 4.7)"
)


def forgetting(study: Findings, paper: Json) -> Answer:
    """RQ6."""
    found, theirs = experiments(study), paper["table6_forgetting"]
    measured = {each.key: by_language(each, study) for each in found}
    numbers = {
        "table6_forgetting": {
            key: {
                language: None if one is None else {"loss_increase": one[0].value, "percent": 100 * one[1]}
                for language, one in row.items()
            }
            for key, row in measured.items()
        },
        "forgetting_effects": {
            key: {language: None if one is None else one[0].data() for language, one in row.items()}
            for key, row in measured.items()
        },
    }
    sections = [
        Section("table6", "Forgotten knowledge", _definition(study), (_table6(found, measured, study, theirs),)),
        Section("curves", "Losses along the way", (), figures(found, study)),
    ]
    claims = [*_paper_claims(found, measured, study, theirs), *_promises(found, measured)]
    return answer("rq6", "RQ6 forgetting", QUESTION, claims, sections if found else (), numbers)


def _definition(study: Findings) -> tuple[str, ...]:
    noise = (
        "Intervals are over seeds."
        if len(study.seeds) > 1
        else "With one seed intervals are over documents, and an estimate: losses of blocks are not kept along the "
        "way, so their spread is that between expert and teacher on held-out text, for as many blocks as a validation "
        "has."
    )
    return (
        "Forgotten knowledge of a language is its validation loss at the end of all sessions less its lowest before "
        "that, in nats a token and as a share of the lowest. Below zero it was never as low as at the end. A language "
        "that only the last of several sessions teaches has nothing to forget (–).",
        "A rise within a single session is no forgetting of something learned earlier, but overfitting; it counts here "
        "all the same. Experts of PLE are trained each on its own and never changed after: 0 by construction.",
        noise,
    )


def _table6(found: Sequence[Experiment], measured: Measured, study: Findings, theirs: Json) -> Table:
    rows: list[list[Cell | str]] = []
    comparable = set(theirs["sequential"]) == set(study.languages)
    shown: set[str] = set()
    for experiment in found:
        ours = measured[experiment.key]
        cells = [_cell(ours[language]) for language in study.languages]
        rows.append([f"{experiment.part}: {experiment.label}", *cells])
        if comparable and experiment.paper and experiment.paper not in shown:
            shown.add(experiment.paper)
            rows.append(
                [f"{experiment.part}: the paper's", *(_theirs(theirs[experiment.paper][x]) for x in study.languages)]
            )
    note = (
        f"Loss increase in nats a token with {share(study.confidence, 0)} intervals, and percent of the lowest loss. "
        "C and D of JEET and MoE-CE include the parts that all experts share."
    )
    return table("Forgotten knowledge, as in the paper's Table 6", ("experiment", *study.languages), rows, note=note)


def _cell(one: tuple[Effect, float] | None) -> Cell:
    if one is None:
        return Cell("–")
    found, part = one
    if found.covered:
        return Cell("0", found.covered)
    return Cell(f"{nats(found)} ({_percent(100 * part)})", span(found))


def _theirs(entry: Json | None) -> str:
    if entry is None or not entry["loss_increase"]:
        return "–" if entry is None else "0"
    return f"{signed(entry['loss_increase'])} ({_percent(entry['percent'])})"


def _percent(value: float) -> str:
    return f"{signed(value, 1)}{GAP}%"


def _paper_claims(found: Sequence[Experiment], measured: Measured, study: Findings, theirs: Json) -> list[Claim]:
    """The paper's Table 6: a sequence forgets, one session and a mixture do not."""
    known = {experiment.key: experiment for experiment in found}
    increases = [entry["loss_increase"] for entry in theirs["sequential"].values() if entry]
    sequential = known.get("sequential")
    forgets = Claim(
        "RQ6", "A student taught one language after the other forgets the earlier ones", "mean over these",
        signed(fmean(increases)), None if sequential is None else mean_over_languages(sequential, study), MISSING,
        least=MARGIN,
    )  # fmt: skip
    text = "A student taught all languages in one session forgets none"
    claims = [forgets, _nothing(text, known.get("single_session"), measured, "0")]
    mixtures: list[Experiment | None] = [experiment for experiment in found if experiment.paper == "moe"]
    for experiment in mixtures or [None]:
        text = f"{experiment.label}, forgets nothing" if experiment else "The experts of a mixture forget nothing"
        claims.append(_nothing(text, experiment, measured, "0"))
    return claims


def _promises(found: Sequence[Experiment], measured: Measured) -> list[Claim]:
    """What the paper promises of mixtures and did not measure: languages one by one, and a language added later."""
    return [_nothing(f"{each.label}, forgets nothing", each, measured, "") for each in found if not each.paper]


def _nothing(text: str, experiment: Experiment | None, measured: Measured, paper: str) -> Claim:
    """A claim that no language is forgotten, judged by the one that is forgotten most."""
    row = measured[experiment.key] if experiment else {}
    known = {language: one[0] for language, one in row.items() if one is not None}
    if not known:
        return Claim("RQ6", text, "language forgotten most", paper, None, MISSING, most=MARGIN)
    most = max(known, key=lambda language: known[language].value)
    number = "every language" if experiment and experiment.by_construction else f"language forgotten most, {most}"
    return Claim("RQ6", text, number, paper, known[most], most=MARGIN)
