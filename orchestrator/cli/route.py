"""`mome route`: which expert a text goes to, how sure the router is, and why."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestrator.artifacts import Store
from orchestrator.cli.show import open_run
from orchestrator.errors import ArtifactError
from orchestrator.routers import Policy, Router, TextRouter
from orchestrator.routers._spans import NONE, spans
from orchestrator.tokens.tokenizer import encode, load_tokenizer


def route_text(name: str, text: str, runs: Path) -> None:
    """Print the label of a text, the probabilities, its spans and the features that decided.

    Raises:
        ArtifactError: no such run, or it has no router yet.
    """
    root = open_run(name, runs).root
    artifacts = Store(root).current()
    if "router" not in artifacts:
        raise ArtifactError("the run has no router", str(root), "train it: mome run RECIPE --until router")
    folder = artifacts["router"].folder
    router, console = Router.load(folder), Console(highlight=False)
    if isinstance(router, TextRouter):
        _explain(router, Policy.of(folder), text, console)
        return
    tokens = encode(load_tokenizer(artifacts["tokenizer"].folder), [text])
    row = router.probabilities(tokens)[0].tolist()
    console.print(_table(router.choose(tokens)[0], dict(zip(router.languages, row, strict=True))))


def _explain(router: TextRouter, policy: Policy, text: str, console: Console) -> None:
    routed = router.route([text])
    languages, rejected = routed.languages[0], float(routed.rejected[0])
    best = router.languages[int(languages.argmax())]
    shares = {name: p * (1 - rejected) for name, p in zip(router.languages, languages.tolist(), strict=True)}
    away = rejected > policy.reject_above
    console.print(_table(NONE if away else best, shares | {NONE: rejected}))
    if away:
        console.print(f"rejected (above {policy.reject_above:g}); the recipe's policy: {policy.reject}", markup=False)
    found = spans(router, text)
    if len(found) > 1:
        table = Table("span", "language", "text", title="Spans", title_justify="left")
        for span in found:
            table.add_row(f"{span.begin}–{span.end}", span.label, _shown(span.text))
        console.print(table)
    reasons = router.reasons(text, best)
    if reasons:
        named = ", ".join(f"{_shown(ngram)!r} {value:+.2f}" for ngram, value in reasons)
        console.print(f"what speaks for {best}: {named}", markup=False)


def _table(label: str, shares: dict[str, float]) -> Table:
    table = Table("language", "probability", title=f"label: {label}", title_justify="left")
    table.columns[1].justify = "right"
    for name, share in sorted(shares.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{share:.2%}")
    return table


def _shown(text: str) -> str:
    """One line of a text that any terminal prints."""
    line = text.encode("utf-8", "replace").decode().replace("\n", "⏎").replace("[", "\\[")
    return line if len(line) <= 60 else line[:57] + "…"
