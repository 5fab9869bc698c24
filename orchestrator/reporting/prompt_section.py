"""The prompt router's part of the router section: by length, calibration, rejection; and what every router costs."""

from __future__ import annotations

from typing import Any

from orchestrator.reporting.figures import RULE, Figure, confusion, curves, draw, legend
from orchestrator.reporting.formats import compact, count, memory, share, significant
from orchestrator.reporting.tables import Table, table

Results = dict[str, Any]


def blocks(facts: Results) -> tuple[Table | Figure, ...]:
    """Tables and figures of `results["router"]`; the prompt router's where the run has one."""
    costs = (_costs(facts["timing"]),) if facts.get("timing") else ()
    found = facts.get("prompt")
    if not found:
        return costs
    return (_lengths(found), *_matrices(found), _reliability(found), _coverage(found), _outside(found), *costs)


def _lengths(found: Results) -> Table:
    rows = [
        (
            length,
            count(row["count"]),
            share(row["accuracy"]),
            f"[{', '.join(share(bound) for bound in row['accuracy_interval'])}]",
            significant(row["ece"], 2),
            share(row["rejected"]),
        )
        for length, row in found["buckets"].items()
    ]
    columns = ("length", "pieces", "accuracy", "95 % interval", "ECE", "rejected")
    note = (
        "Pieces of test documents that begin at a word; short pieces of Python are cut from code without comments and "
        "docstrings. ECE: expected calibration error of the language's probability, 15 bins. Rejected, wrongly: above "
        f"a probability of {found['threshold']:g} for “none of these”."
    )
    return table("Prompt router by length of the text", columns, rows, note=note)


def _matrices(found: Results) -> tuple[Figure, ...]:
    lengths = [length for length in ("1 word", "20 characters") if length in found["buckets"]]
    size = 1.4 + 0.7 * len(found["languages"])
    return tuple(
        draw(
            f"confusion-{length.replace(' ', '-')}",
            f"Confusion matrix of the prompt router on {length}: numbers of pieces, shaded by their share of the row.",
            f"Confusion matrix on {length}: {share(found['buckets'][length]['accuracy'])} on the diagonal.",
            lambda canvas, rows=found["buckets"][length]["confusion"]: confusion(  # type: ignore[misc]
                canvas.subplots(), found["languages"], rows
            ),
            (size, size),
        )
        for length in lengths
    )


def _reliability(found: Results) -> Figure:
    points = [(row["confidence"], row["accuracy"]) for row in found["reliability"]]

    def paint(canvas: Any) -> None:
        axes = canvas.subplots()
        axes.plot((0, 1), (0, 1), color=RULE, linewidth=1)
        curves(axes, {"prompt router": points}, "accuracy", "probability of the most probable language")
        legend(axes)

    said = ", ".join(f"{share(x, 0)}: {share(y, 0)}" for x, y in points)
    caption = "Reliability of the prompt router over all lengths: on the diagonal, probabilities are what they say."
    return draw("reliability", caption, f"Accuracy by stated probability. {said}.", paint, (4.6, 3.6))


def _coverage(found: Results) -> Table:
    rows = [
        (
            share(row["coverage"], 1),
            share(row["error"]),
            share(row["outside_rejected"], 1),
            significant(row["threshold"], 2),
        )
        for row in found["coverage"]
    ]
    columns = ("kept of the languages' text", "error among the kept", "rejected of other text", "threshold")
    note = "All lengths together, the languages' text and other text as in the tables above and below."
    return table("Coverage against error", columns, rows, note=note)


def _outside(found: Results) -> Table:
    rows = [(kind, count(row["count"]), share(row["rejected"], 1)) for kind, row in found["outside"].items()]
    note = (
        "“unseen/…”: program messages in languages (message catalogues of this machine) and files of packages in kinds "
        "of code that the router has not learned to reject; “generated/…”: made for the test. Half of the pieces are "
        "cut to all lengths, half are whole."
    )
    return table("Text that is for no expert", ("kind", "pieces", "rejected"), rows, note=note)


def _costs(timing: Results) -> Table:
    rows = [(name, compact(row["microseconds"]), memory(row["bytes"])) for name, row in timing.items()]
    note = "Microseconds of a test block in a batch, tokens to probabilities, on one core of the machine that trained."
    return table("Cost of routing", ("classifier", "µs a block", "on disk"), rows, note=note)
