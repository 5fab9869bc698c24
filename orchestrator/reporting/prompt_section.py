"""The prompt router's part of the router section: by length, calibration, rejection; and what every router costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.reporting import router_text
from orchestrator.reporting.figures import RULE, Figure, confusion, curves, draw, legend
from orchestrator.reporting.formats import compact, count, listing, memory, share, significant
from orchestrator.reporting.run_results import RouterFacts
from orchestrator.reporting.tables import Cell, Table, table

Results = dict[str, Any]

CLASSIFIERS = {
    "logistic_regression": "Logistic regression",
    "sgd": "SGD classifier",
    "random_forest": "Random forest",
    "prompt": "Prompt router",
}
SHORT, LONGER = "1 word", "20 characters"
"""Lengths whose confusions are shown."""
_USUAL = 0.95
"""Share of the languages' text that people usually want to keep."""
_FEW = 30
"""Answers below which a bin of the reliability diagram says little."""


def sentences(facts: RouterFacts, policy: Results) -> tuple[str, ...]:
    """How good the prompt router is and what a rejection is, for someone new; none where there is no such router.

    Args:
        facts: `results["router"]`.
        policy: the recipe's section on routing.
    """
    found = facts.get("prompt")
    if not found:
        return ()
    lengths = [length for length in (SHORT, LONGER, "100 characters") if length in found["buckets"]]
    right = [f"{share(found['buckets'][length]['accuracy'])} of those of {length}" for length in lengths]
    return (
        f"What people type is shorter than a block. On pieces of test documents the prompt router is right in "
        f"{listing(right)}.",
        "With each answer comes the probability that the text is text of no language. Above "
        f"{found['threshold']:g} (router.reject_above in the recipe) the text is rejected: it then "
        f"{_policy(str(policy.get('reject', 'best')))} (router.reject). A rejection is wrong where the text was in one "
        f"of the languages after all; the tables say how often, and what another threshold would do. "
        f"{router_text.kept_away(found)}",
        *router_text.sentences(found, facts.get("text")),
    )


def blocks(facts: RouterFacts) -> tuple[Table | Figure, ...]:
    """Tables and figures of `results["router"]`; the prompt router's where the run has one."""
    timing = facts.get("timing")
    costs = (_costs(timing),) if timing else ()
    found = facts.get("prompt")
    if not found:
        return costs
    about = (_everyone(found, facts["used"]), _lengths(found), *_matrices(found), _reliability(found))
    return (*about, _coverage(found), *router_text.blocks(found, facts.get("text")), *costs)


def _policy(reject: str) -> str:
    """What happens to text of no language, as the end of a sentence."""
    known = {
        "best": "goes to the most probable expert all the same",
        "common": "goes to the mixture's common expert",
        "error": "is refused with an error that says so",
    }
    return known.get(reject, f"goes to expert {reject}")


def _everyone(found: Results, used: str) -> Table:
    scores = {used: found["buckets"], **found.get("classifiers", {})}

    def cell(name: str, length: str) -> Cell:
        score = scores[name][length]
        return Cell(share(score["accuracy"]), _around(score["accuracy_interval"]), strong=name == used)

    rows = [[length, *(cell(name, length) for name in scores)] for length in found["buckets"]]
    note = (
        "With 95 % Wilson intervals, on equally many pieces of test documents of each language, which begin at a word; "
        "fewer for the paper's classifiers, which learn from blocks and are not made for less. "
        "Pieces of Python shorter than 256 characters are cut from code without comments and docstrings: those are "
        "prose. Nothing is rejected here."
    )
    columns = ("length", *(CLASSIFIERS.get(name, name) for name in scores))
    return table("Accuracy on what people type, by length", columns, rows, note=note)


def _around(bounds: Sequence[float]) -> str:
    return f"[{', '.join(share(bound) for bound in bounds)}]"


def _lengths(found: Results) -> Table:
    rows = [
        (length, count(row["count"]), significant(row["ece"], 2), share(row["rejected"]))
        for length, row in found["buckets"].items()
    ]
    note = (
        "The same pieces. ECE, expected calibration error: how far, on average, the probability of the answer is from "
        "the share of such answers that is right (15 bins); 0 is perfect. Rejected, wrongly: above a probability of "
        f"{found['threshold']:g} of being text of no language."
    )
    return table("The prompt router by length", ("length", "pieces", "ECE", "rejected"), rows, note=note)


def _matrices(found: Results) -> tuple[Figure, ...]:
    lengths = [length for length in (SHORT, LONGER) if length in found["buckets"]]
    size = 1.4 + 0.7 * len(found["languages"])

    def paint(canvas: Any) -> None:
        for axes, length in zip(canvas.subplots(1, len(lengths), squeeze=False)[0], lengths, strict=True):
            confusion(axes, found["languages"], found["buckets"][length]["confusion"])
            axes.set_title(length)

    right = [f"{share(found['buckets'][length]['accuracy'])} on the diagonal on {length}" for length in lengths]
    caption = "Confusion of the prompt router on short text: numbers of pieces, shaded by their share of the row."
    alt = f"Confusion matrices: {listing(right)}."
    return (draw("confusion-short", caption, alt, paint, (size * len(lengths), size + 0.3)),) if lengths else ()


def _reliability(found: Results) -> Figure:
    bins = found["reliability"]
    points = [(row["confidence"], row["accuracy"]) for row in bins if row["count"] >= _FEW]

    def paint(canvas: Any) -> None:
        axes = canvas.subplots()
        axes.plot((0, 1), (0, 1), color=RULE, linewidth=1)
        curves(axes, {"prompt router": points}, "share that is right", "probability of the answer")
        legend(axes)

    total = max(1, sum(row["count"] for row in bins))
    ece = sum(row["count"] * abs(row["confidence"] - row["accuracy"]) for row in bins) / total
    said = ", ".join(f"{share(x, 0)}: {share(y, 0)}" for x, y in points)
    caption = (
        f"Reliability of the prompt router over all lengths (ECE {significant(ece, 2)}): on the line, probabilities "
        f"are what they say. Bins of fewer than {_FEW} answers are left out."
    )
    return draw("reliability", caption, f"Accuracy by stated probability. {said}.", paint, (4.6, 3.6))


def _coverage(found: Results) -> Table:
    usual = min(found["coverage"], key=lambda row: abs(row["coverage"] - _USUAL), default=None)
    rows = [
        (
            Cell(share(row["coverage"], 1), strong=row is usual),
            significant(row["threshold"], 2),
            share(row["error"]),
            share(row["outside_rejected"], 1),
        )
        for row in found["coverage"]
    ]
    columns = ("text kept", "threshold", "wrong among it", "text of no language rejected")
    note = (
        "Text kept: of the languages that have experts, all lengths together. Threshold: router.reject_above in the "
        "recipe; a lower one rejects more of everything. Text of no language: that of the next table."
    )
    if usual:
        note += (
            f" To keep {share(usual['coverage'], 0)}, set it to {significant(usual['threshold'], 2)}: "
            f"{share(usual['error'])} of what is kept then goes to a wrong expert, and "
            f"{share(usual['outside_rejected'], 1)} of text of no language is rejected."
        )
    return table("Coverage against error", columns, rows, note=note)


def _costs(timing: Results) -> Table:
    rows = [
        (CLASSIFIERS.get(name, name), *_times(row), *_times(row.get("text", {})), memory(row["bytes"]))
        for name, row in timing.items()
    ]
    columns = ("classifier", "µs a block", "one alone", "µs for 100 characters", "one alone", "on disk")
    note = (
        "Blocks of test text in a batch, tokens to probabilities, and one by itself; for the prompt router the first "
        "100 characters too. On one core of the machine that trained, whatever else it did."
    )
    return table("Cost of routing", columns, rows, note=note)


def _times(row: Results) -> tuple[str, str]:
    return compact(row.get("microseconds")), compact(row.get("alone"))
