"""What the prompt router learned and was tested with beside the corpus: text that ships, and text of no language."""

from __future__ import annotations

from typing import Any

from orchestrator.reporting.formats import GAP, count, listing, share
from orchestrator.reporting.tables import Table, table
from orchestrator.routers.text.tags import shown

Results = dict[str, Any]

_LEARNED = {
    "phrases": "sentences written for this project, in",
    "code": "snippets written for this project, of",
    "generated": "made by rule",
}
_USES = {"learned": "training", "tested": "tests of rejection"}


def sentences(found: Results, text: Results | None) -> tuple[str, ...]:
    """The training set that ships, and the languages of which it has nothing.

    Args:
        found: `results["router"]["prompt"]`.
        text: `results["router"]["text"]`.
    """
    without = [name for name, row in found["shipped"].items() if not row["kinds"]]
    warning = f"Warning: no text ships for {listing(without)}; the last tables say what follows from that."
    return (*((_training_set(text),) if text else ()), *((warning,) if without else ()))


def blocks(found: Results, text: Results | None) -> tuple[Table, ...]:
    """Tables of both, for the same arguments."""
    return (_rejected(found), *((_set(text),) if text else ()), _learned(found), _shipped(found))


def _training_set(text: Results) -> str:
    tags = text["tags"]["learned"]
    return (
        "The run has a third training set beside its corpus and the teacher's answers: the router also learns from "
        f"{count(text['texts']['learned'])} sentences and snippets of {tags['natural']} languages and "
        f"{tags['code']} kinds of code that ship, {listing(text['origins'])} ({listing(text['licences'])})."
    )


def _set(text: Results) -> Table:
    rows = [
        (
            _USES.get(use, use),
            count(texts),
            count(text["tags"][use]["natural"]),
            count(text["tags"][use]["code"]),
            ", ".join(f"{register}{GAP}{count(number)}" for register, number in text["registers"][use].items()),
        )
        for use, texts in text["texts"].items()
    ]
    note = (
        f"Origin: {listing(text['origins'])}. Licence: {listing(text['licences'])}. What ships of the run's languages "
        "is learned as theirs, all else as text of no language; nothing that is tested with is learned."
    )
    columns = ("used for", "texts", "languages", "kinds of code", "registers")
    return table("The third training set: text that ships", columns, rows, words=(4,), note=note)


def kept_away(found: Results) -> str:
    """Shares rejected of text of no language, by sort of text, as a sentence."""
    means = [f"{share(_mean(rows), 1)} of {sort}" for (sort, _), rows in _sorts(found).items()]
    return f"Of text of no language it rejects {listing(means)}." if means else ""


def _sorts(found: Results) -> dict[tuple[str, str], Results]:
    """Sort of text of no language and how it was made -> its kinds, and what is rejected of each."""
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


def _rejected(found: Results) -> Table:
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
    return table("Text of no language: what is rejected of it", columns, rows, words=(1, 4), note=note)


def _learned(found: Results) -> Table:
    names: dict[str, list[str]] = {}
    for kind in found.get("learned_outside", ()):
        group, _, name = kind.partition("/")
        names.setdefault(group, []).append(name)
    rows = [(_LEARNED.get(group, group), count(len(some)), ", ".join(some)) for group, some in names.items()]
    return table("Text of no language that rejection was learned from", ("source", "kinds", "which"), rows, words=(2,))


def _shipped(found: Results) -> Table:
    given = found["shipped"].items()
    rows = [(name, ", ".join(map(shown, row["kinds"])) or "none", _given(row)) for name, row in given]
    note = (
        "Each language is given what ships of it, by its name in the recipe, beside its corpus; what ships of all "
        "others is learned as text of no language. A corpus in one of these others is rejected in part: begin the "
        "language's name with its tag, as en-law."
    )
    return table("Text that ships for the languages", ("language", "tag", "what is done with it"), rows, note=note)


def _given(row: Results) -> str:
    if row["with"]:
        return f"neither learned nor rejected: also that of {', '.join(row['with'])}"
    return f"{count(row['learned'])} texts learned" if row["kinds"] else "nothing ships of this name"
