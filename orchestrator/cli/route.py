"""`mome route`: which expert a text goes to, how sure the router is, and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from orchestrator.artifacts import Artifact, Store
from orchestrator.cli.show import open_run
from orchestrator.errors import ArtifactError, RecipeError
from orchestrator.pipeline.versions import Versions
from orchestrator.routers import NONE, Policy, Router, Span, TextRouter, spans
from orchestrator.tokens.tokenizer import encode, load_tokenizer

STANDARD_INPUT = "-"
_LINES_AT_ONCE = 10_000
_PLAIN: dict[str, Any] = {"title_justify": "left", "box": SIMPLE_HEAD, "pad_edge": False}


@dataclass(frozen=True)
class Routed:
    """A text and its route.

    Attributes:
        label: the most probable language, or NONE. expert: who answers by the recipe's policy; None: it is refused.
        shares: probability of each language, and of NONE where the router can tell.
    """

    text: str
    label: str
    expert: str | None
    shares: dict[str, float]

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return {"label": self.label, "expert": self.expert, "probabilities": self.shares, "text": _printable(self.text)}


class RunRouter:
    """The router of a run's current version, or of its latest artifacts where there are no versions yet."""

    def __init__(self, root: Path) -> None:
        """Load it.

        Raises:
            ArtifactError: the run has no router, or it is damaged.
        """
        version = Versions(root).current()
        parts = {name: version.part(name) for name in ("router", "tokenizer")} if version else Store(root).current()
        if "router" not in parts:
            raise ArtifactError("the run has no router", str(root), "train it: mome run RECIPE --until router")
        self._parts: dict[str, Artifact] = dict(parts)
        self.router = Router.load(parts["router"].folder)
        self.policy = Policy.of(parts["router"].folder)

    def route(self, texts: list[str]) -> list[Routed]:
        """Route texts, each by itself."""
        languages = self.router.languages
        if not isinstance(self.router, TextRouter):
            rows = self.router.probabilities(encode(self._tokenizer, [_printable(text) for text in texts])).tolist()
            best = [languages[row.index(max(row))] for row in rows]
            shares = [dict(zip(languages, row, strict=True)) for row in rows]
            return [Routed(*each) for each in zip(texts, best, best, shares, strict=True)]
        found = self.router.route(texts)
        return [
            self._routed(*each) for each in zip(texts, found.languages.tolist(), found.rejected.tolist(), strict=True)
        ]

    def _routed(self, text: str, row: list[float], rejected: float) -> Routed:
        best = self.router.languages[row.index(max(row))]
        shares = {name: p * (1 - rejected) for name, p in zip(self.router.languages, row, strict=True)}
        label = NONE if self.policy.rejects(rejected) else best
        return Routed(text, label, self.policy.expert(best, rejected), shares | {NONE: rejected})

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._parts["tokenizer"].folder)


def route_text(name: str, text: str, runs: Path, as_json: bool = False) -> None:
    """Print the label of a text, the probabilities, its spans and the features that decided.

    Args:
        name: of the run. text: to route; "-": what comes on the standard input. runs: folder of the runs.
        as_json: one line of JSON instead.

    Raises:
        ArtifactError: no such run, or it has no router yet.
    """
    run = RunRouter(open_run(name, runs).root)
    routed = run.route([_standard_input() if text == STANDARD_INPUT else text])[0]
    found: list[Span] = []
    reasons: list[tuple[str, float]] = []
    best = max(run.router.languages, key=routed.shares.__getitem__)
    if isinstance(run.router, TextRouter):
        found, reasons = spans(run.router, routed.text), run.router.reasons(routed.text, best)
        found = found if len(found) > 1 else []  # a text in one language has no parts
    if as_json:
        parts = [{"begin": span.begin, "end": span.end, "label": span.label} for span in found]
        named = [(_printable(ngram), value) for ngram, value in reasons]
        print(json.dumps({**routed.row(), "spans": parts, "reasons": named}))
        return
    _explain(routed, run.policy, found, best, reasons)


def route_lines(name: str, file: Path, runs: Path) -> None:
    """Print the route of each line of a file (`-`: of the standard input) as a line of JSON, in their order.

    Raises:
        ArtifactError: no such run, or it has no router yet. RecipeError: the file can't be read.
    """
    run = RunRouter(open_run(name, runs).root)
    with _opened(file) as stream:
        while lines := list(islice(stream, _LINES_AT_ONCE)):
            for routed in run.route([line.decode("utf-8", "replace").rstrip("\r\n") for line in lines]):
                print(json.dumps(routed.row()))


def _standard_input() -> str:
    with _opened(Path(STANDARD_INPUT)) as stream:
        return stream.read().decode("utf-8", "replace")


def _opened(file: Path) -> BinaryIO:
    try:
        return open(0, "rb", closefd=False) if str(file) == STANDARD_INPUT else file.open("rb")
    except OSError as error:
        raise RecipeError(f"the file can't be read: {error.strerror}", str(file), "give a text file, or -") from None


def _explain(
    routed: Routed, policy: Policy, found: Sequence[Span], best: str, reasons: Sequence[tuple[str, float]]
) -> None:
    console = Console(highlight=False)
    table = Table("language", "probability", title=f"label: {routed.label}", **_PLAIN)
    table.columns[1].justify = "right"
    for name, share in sorted(routed.shares.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{share:.2%}")
    console.print(table)
    if routed.label == NONE:
        end = "refuses it" if routed.expert is None else f"sends it to {routed.expert}"
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


def _printable(text: str) -> str:
    """The text with "?" for what is no character: half a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


def _shown(text: str) -> str:
    """One line of a text that any terminal prints."""
    line = _printable(text).replace("\n", "⏎")
    return line if len(line) <= 60 else line[:57] + "…"
