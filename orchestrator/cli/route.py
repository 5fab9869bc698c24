"""`mome route`: which expert a text goes to, how sure the router is, and why."""

from __future__ import annotations

import json
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Sequence
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from orchestrator.api import load_run
from orchestrator.api.routing import printable
from orchestrator.errors import RecipeError
from orchestrator.routers import NONE, Choice, Policy, Span

STANDARD_INPUT = "-"
_LINES_AT_ONCE = 10_000
_PLAIN: dict[str, Any] = {"title_justify": "left", "box": SIMPLE_HEAD, "pad_edge": False}


def route_text(name: str, text: str, runs: Path, as_json: bool = False, experts: Sequence[str] | None = None) -> None:
    """Print the label of a text, the probabilities, its spans and the features that decided.

    Args:
        name: of the run.
        text: to route; "-": what comes on the standard input.
        runs: folder of the runs.
        as_json: one line of JSON instead.
        experts: those that may serve; None: all.

    Raises:
        ArtifactError: no such run, or it has no router yet. UnknownModelError: there is no such expert.
    """
    run = load_run(name, runs).router(experts)
    text = _standard_input() if text == STANDARD_INPUT else text
    choice, router = run.route([text])[0], run.chooser.router
    best = max(router.languages, key=choice.probabilities.__getitem__)
    found, reasons = run.chooser.explain(text, choice)
    if as_json:
        parts = [{"begin": span.begin, "end": span.end, "label": span.label} for span in found]
        named = [(printable(ngram), value) for ngram, value in reasons]
        print(json.dumps({**_row(text, choice), "spans": parts, "reasons": named}))
        return
    _explain(choice, run.chooser.policy, found, best, reasons)


def route_lines(name: str, file: Path, runs: Path, experts: Sequence[str] | None = None) -> None:
    """Print the route of each line of a file (`-`: of the standard input) as a line of JSON, in their order.

    Raises:
        ArtifactError: no such run, or it has no router yet. RecipeError: the file can't be read. UnknownModelError:
            there is no such expert.
    """
    run = load_run(name, runs).router(experts)
    with _opened(file) as stream:
        if stream.peek(2)[:2] in (BOM_UTF16_LE, BOM_UTF16_BE):
            raise RecipeError("the file is in UTF-16, not UTF-8", str(file), f"iconv -f UTF-16 -t UTF-8 {file} > NEW")
        while lines := list(islice(stream, _LINES_AT_ONCE)):
            texts = [line.decode("utf-8", "replace").rstrip("\r\n") for line in lines]
            for text, choice in zip(texts, run.route(texts), strict=True):
                print(json.dumps(_row(text, choice)))


def _row(text: str, choice: Choice) -> dict[str, Any]:
    """A text and its route as JSON."""
    shares = dict(choice.probabilities)
    return {"label": choice.label, "expert": choice.expert, "probabilities": shares, "text": printable(text)}


def _standard_input() -> str:
    with _opened(Path(STANDARD_INPUT)) as stream:
        return stream.read().decode("utf-8", "replace")


def _opened(file: Path) -> BufferedReader:
    try:
        return open(0, "rb", closefd=False) if str(file) == STANDARD_INPUT else file.open("rb")
    except OSError as error:
        raise RecipeError(f"the file can't be read: {error.strerror}", str(file), "give a text file, or -") from None


def _explain(
    choice: Choice, policy: Policy, found: Sequence[Span], best: str, reasons: Sequence[tuple[str, float]]
) -> None:
    console = Console(highlight=False)
    table = Table("language", "probability", title=f"label: {choice.label}", **_PLAIN)
    table.columns[1].justify = "right"
    for name, share in sorted(choice.probabilities.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{share:.2%}")
    console.print(table)
    if choice.label == NONE:
        end = "refuses it" if choice.expert is None else f"sends it to {choice.expert}"
        rule = f"“none” is above {policy.reject_above:g}; the recipe's policy for that, {policy.reject}, {end}"
        console.print(f"rejected: {rule}", markup=False, soft_wrap=True)
    if found:
        table = Table("span", "language", "text", title="spans", **_PLAIN)
        for span in found:
            table.add_row(f"{span.begin}–{span.end}", span.label, _shown(span.text).replace("[", "\\["))
        console.print(table)
    if reasons:
        named = ", ".join(f"{_shown(ngram)!r} {value:+.2f}" for ngram, value in reasons)
        console.print(f"what speaks for {best}: {named}", markup=False, soft_wrap=True)


def _shown(text: str) -> str:
    """One line of a text that any terminal prints."""
    line = printable(text).replace("\n", "⏎")
    return line if len(line) <= 60 else line[:57] + "…"
