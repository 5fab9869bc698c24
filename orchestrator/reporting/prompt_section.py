"""The prompt router's part of the router section: by length, calibration, rejection; and what every router costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.reporting.figures import RULE, Figure, confusion, curves, draw, legend
from orchestrator.reporting.formats import GAP, compact, count, listing, memory, share, significant
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
_LEARNED = {
    "phrases": "sentences written for this project, in",
    "code": "snippets written for this project, of",
    "generated": "made by rule",
}


def sentences(facts: RouterFacts, policy: Results) -> tuple[str, ...]:
    """How good the prompt router is and what a rejection is, for someone new; none where there is no such router.

    Args:
        facts: `results["router"]`. policy: the recipe's section on routing.
    """
    found = facts.get("prompt")
    if not found:
        return ()
    lengths = [length for length in (SHORT, LONGER, "100 characters") if length in found["buckets"]]
    right = [f"{share(found['buckets'][length]['accuracy'])} of those of {length}" for length in lengths]
    return (
        f"What people type is shorter than a block. On pieces of test documents the prompt router is right in "
        f"{listing(right)}.",
        "With each answer comes the probability that the text is of none of these languages. Above "
        f"{found['threshold']:g} (router.reject_above in the recipe) the text is rejected: it then "
        f"{_policy(str(policy.get('reject', 'best')))} (router.reject). A rejection is wrong where the text was in one "
        f"of the languages after all; the tables say how often, and what another threshold would do. "
        f"{_kept_away(found)}",
    )


def blocks(facts: RouterFacts) -> tuple[Table | Figure, ...]:
    """Tables and figures of `results["router"]`; the prompt router's where the run has one."""
    timing = facts.get("timing")
    costs = (_costs(timing),) if timing else ()
    found = facts.get("prompt")
    if not found:
        return costs
    about = (_everyone(found, facts["used"]), _lengths(found), *_matrices(found), _reliability(found))
    return (*about, _coverage(found), _outside(found), _learned(found), _shipped(found), *costs)


def _policy(reject: str) -> str:
    """What happens to a rejected text, as the end of a sentence."""
    known = {
        "best": "goes to the most probable expert all the same",
        "common": "goes to the mixture's common expert",
        "error": "is refused with an error that says so",
    }
    return known.get(reject, f"goes to expert {reject}")


def _kept_away(found: Results) -> str:
    """Shares rejected of text of no expert, by sort of text."""
    means = [f"{share(_mean(rows), 1)} of {sort}" for (sort, _), rows in _sorts(found).items()]
    return f"Of text that is for no expert it rejects {listing(means)}." if means else ""


def _sorts(found: Results) -> dict[tuple[str, str], Results]:
    """Sort of text that is for no expert and how it was made -> its kinds, and what is rejected of each."""
    sorts: dict[tuple[str, str], Results] = {}
    for kind, row in found["outside"].items():
        group, _, name = kind.partition("/")
        what, source = ("code", "snippets") if name.startswith(".") else ("languages", "sentences")
        seen = "that it has learned to reject" if group == "seen" else "that it has never seen"
        sort = ("data and noise", "made by rule") if group == "generated" else (f"{what} {seen}", source)
        sorts.setdefault(sort, {})[name] = row
    return sorts


def _mean(rows: Results) -> float:
    return float(sum(row["rejected"] for row in rows.values())) / len(rows)


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
        f"{found['threshold']:g} for “none of these”."
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
    columns = ("text kept", "threshold", "wrong among it", "other text rejected")
    note = (
        "Text kept: of the languages that have experts, all lengths together. Threshold: router.reject_above in the "
        "recipe; a lower one rejects more of everything. Other text: that of the next table."
    )
    if usual:
        note += (
            f" To keep {share(usual['coverage'], 0)}, set it to {significant(usual['threshold'], 2)}: "
            f"{share(usual['error'])} of what is kept then goes to a wrong expert, and "
            f"{share(usual['outside_rejected'], 1)} of other text is rejected."
        )
    return table("Coverage against error", columns, rows, note=note)


def _outside(found: Results) -> Table:
    rows = [
        (
            sort,
            source,
            count(sum(row["count"] for row in kinds.values())),
            share(_mean(kinds), 1),
            ", ".join(f"{name}{GAP}{share(row['rejected'], 0)}" for name, row in kinds.items()),
        )
        for (sort, source), kinds in _sorts(found).items()
    ]
    note = (
        "Rejected: the mean over kinds. Sentences and snippets were written for this project and ship with it; none of "
        "these is ever learned from. Half of the pieces are cut to all lengths, half are whole; none is there twice."
    )
    columns = ("text", "made of", "pieces", "rejected", "of each kind")
    return table("Text that is for no expert: what is rejected of it", columns, rows, words=(1, 4), note=note)


def _learned(found: Results) -> Table:
    names: dict[str, list[str]] = {}
    for kind in found.get("learned_outside", ()):
        group, _, name = kind.partition("/")
        names.setdefault(group, []).append(name)
    rows = [(_LEARNED.get(group, group), count(len(some)), ", ".join(some)) for group, some in names.items()]
    return table("What rejection was learned from", ("source", "kinds", "which"), rows, words=(2,))


def _shipped(found: Results) -> Table:
    rows = [(name, ", ".join(row["kinds"]) or "none", _given(row)) for name, row in found["shipped"].items()]
    note = (
        "Each language is given what ships of it, by its name in the recipe, beside its corpus; what ships of all "
        "others is what rejection is learned from. Text in one of these others is rejected in part: begin the "
        "language's name with its code, as en-law."
    )
    return table(
        "Text that ships for the languages", ("language", "shipped text", "what is done with it"), rows, note=note
    )


def _given(row: Results) -> str:
    if row["with"]:
        return f"neither learned nor rejected: also that of {', '.join(row['with'])}"
    return f"{count(row['learned'])} texts learned" if row["kinds"] else "nothing ships of this name"


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
