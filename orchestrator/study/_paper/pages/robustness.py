"""How mixtures stand mistakes of the router, ensembles, and experts that are missing."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from orchestrator.reporting.document import Section
from orchestrator.reporting.effects import Runs, effect, level, minus, nats, span
from orchestrator.reporting.formats import share, significant
from orchestrator.reporting.tables import Cell, table
from orchestrator.study._paper.pages import settings
from orchestrator.study._paper.pages.data import Json, Setup


def robustness(used: Mapping[str, tuple[Setup, bool]], confidence: float) -> Section:
    """The section.

    Args:
        used: label -> a mixture, and whether its common expert is used.
        confidence: coverage of the intervals.
    """
    rows: list[list[Cell | str]] = []
    for label, (setup, common) in used.items():
        uses = _uses(setup, common)
        routed = uses["routed"]
        loss = fmean(level(losses) for losses in routed.values())
        compared = [
            (routed, uses["true_language"]),
            *((uses.get(name), routed) for name in ("even", "soft", "own_gone")),
        ]
        cells = [_less(first, second, confidence) for first, second in compared]
        rows.append([label, significant(loss, 4), *cells])
    columns = ("setup", "loss, routed", "routing costs", "even", "soft", "own expert gone")
    told = (
        "Routing costs: the loss through the router less that with the true language. The other columns: less the loss "
        "through the router. Even and soft: the mean of all experts' probabilities, weighted alike or by the router. "
        "Own expert gone: each language is served by the most probable of the other experts."
    )
    note = f"Mean over the languages, in nats a token, with {share(confidence, 0)} intervals; above zero is worse."
    return Section(
        "robustness", "Robustness", (told,), (table("Mistakes, ensembles, missing experts", columns, rows, note=note),)
    )


def robustness_numbers(setup: Setup, common: bool, confidence: float) -> Json:
    """For `results.json`: mean losses by use, and what routing costs."""
    uses = _uses(setup, common)
    losses = {name: fmean(level(each) for each in runs.values()) for name, runs in uses.items()}
    cost = effect(minus(uses["routed"], uses["true_language"]), confidence)
    return {"loss": losses, "routing_cost": cost.data()}


def _less(first: Runs | None, second: Runs, confidence: float) -> Cell:
    if first is None:
        return Cell("–")
    found = effect(minus(first, second), confidence)
    return Cell(nats(found), span(found))


def _uses(setup: Setup, common: bool) -> dict[str, Runs]:
    """Ways to use a mixture, by their names; the ensembles are measured with the common expert only."""
    found = {
        "true_language": settings.true_language(setup, common=common),
        "routed": settings.routed(setup, common=common),
    }
    if common or not setup.has_common:
        found |= {"even": settings.named(setup, "average"), "soft": settings.named(setup, "soft")}
    if all(len(evaluation.languages) > 1 for evaluation in setup.evaluations.values()):
        found["own_gone"] = settings.without_own(setup, common=common)
    return found
