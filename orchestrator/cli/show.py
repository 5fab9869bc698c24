"""`mome show` and `mome report`: what a run produced, and what from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from orchestrator.api import load_run
from orchestrator.artifacts import Artifact, Store
from orchestrator.pipeline.plan import drifts
from orchestrator.provenance import told

_FIGURE = re.compile(r"^!\[.*\]\(.*\)\n+", re.MULTILINE)
"""A figure with its description: a terminal shows tables of the same numbers."""


def show_run(name: str, runs: Path) -> None:
    """Print a run's artifacts: what each was made from, when, in what time, how large it is.

    Raises:
        ArtifactError: there is no such run, or an artifact is damaged.
    """
    run = load_run(name, runs)
    console, artifacts = Console(), run.artifacts
    console.print(artifact_table(run.name, artifacts))
    console.print(f"files: {run.folder}/stages/STAGE/ID…", markup=False)
    if line := told(drifts(Store(run.folder), artifacts)):
        console.print(f"drift: {line}", markup=False)


def artifact_table(title: str, artifacts: Mapping[str, Artifact]) -> Table:
    """Artifacts by name: what each was made from, when, in what time, how large it is."""
    table = Table(title=title, title_justify="left")
    for heading in ("stage", "id", "made from", "created (UTC)", "seconds", "MB"):
        justify: Literal["left", "right"] = "right" if heading in ("seconds", "MB") else "left"
        table.add_column(heading, justify=justify, no_wrap=heading != "made from")
    for step, artifact in artifacts.items():
        manifest = artifact.manifest
        size = sum(facts["bytes"] for facts in manifest["files"].values()) / 1e6
        inputs = ", ".join(f"{role} {fingerprint[:6]}" for role, fingerprint in manifest["inputs"].items())
        figures = (manifest["created"][:16].replace("T", " "), f"{manifest['seconds']:.1f}", f"{size:.1f}")
        table.add_row(step, artifact.fingerprint[:6], inputs, *figures)
    return table


def show_report(name: str, runs: Path) -> None:
    """Print a run's report as text and say where its page is.

    Raises:
        ArtifactError: there is no such run, or it has no report yet.
    """
    page = load_run(name, runs).report
    console = Console()
    text = (page.parent / "report.md").read_text(encoding="utf-8")
    console.print(Markdown(_FIGURE.sub("", text)))
    console.print(f"page: {page}", markup=False)
    console.print(f"numbers: {page.parent / 'results.json'}", markup=False)
