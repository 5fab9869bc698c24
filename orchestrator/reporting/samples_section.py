"""What models make of the beginnings of held-out texts, beside the numbers that say how well they predict them."""

from __future__ import annotations

from orchestrator.reporting.document import Section
from orchestrator.reporting.run_results import RunResults
from orchestrator.reporting.tables import table

_NOTE = (
    "Beginnings are of held-out text, and were not chosen by what came of them. Models go on from them by drawing from "
    "their probabilities at a temperature of 0.7."
)


def samples(results: RunResults) -> tuple[Section, ...]:
    """A section, unless the recipe asks for no samples (`evaluation.samples`)."""
    rows = [
        (language, sample["prompt"], sample["teacher"], sample["expert"])
        for language, found in results["samples"].items()
        for sample in found
    ]
    if not rows:
        return ()
    columns = ("language", "beginning", "the teacher goes on", "the expert goes on")
    body = table("Text by the teacher and by each language's expert", columns, rows, words=(1, 2, 3), note=_NOTE)
    return (Section("samples", "Samples", (), (body,)),)
