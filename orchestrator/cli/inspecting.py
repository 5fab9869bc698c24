"""`mome data`: what the corpus of a recipe holds, and its way out to other tools."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from orchestrator.api.recipes import read_recipe
from orchestrator.artifacts import Store, check_files
from orchestrator.corpus.export import export_paper_json, export_parquet
from orchestrator.corpus.inspect import LanguageSummary, files_told, summary
from orchestrator.errors import ArtifactError, RecipeError
from orchestrator.pipeline.plan import make_plan, run_folder
from orchestrator.tokens.inspect import block_counts, imbalance_percent, token_counts

_EXPORTS = {"parquet": export_parquet, "json": export_paper_json}
_SHORT = {"validation": "valid."}


def inspect(recipe_file: Path, overrides: Sequence[str], runs: Path, plot: Path | None) -> None:
    """Print counts by language and split, and what was removed; draw Figure 1's plot.

    Raises:
        ArtifactError: the corpus of this recipe isn't built yet.
    """
    folders = _folders(recipe_file, overrides, runs)
    documents = summary(folders["corpus"])
    balanced = {(row["language"], row["split"]): row for row in block_counts(folders["blocks"])}
    console = Console()
    console.print(_counts_table(documents, token_counts(folders["tokens"]), balanced))
    console.print(
        f"balanced training tokens differ by {imbalance_percent(folders['blocks']):.2f} % at most; "
        "they count the two marks around each document",
    )
    console.print("", _removed_table(documents), sep="\n")
    for line in _read_lines(documents):
        console.print(line, markup=False, soft_wrap=True)
    drawn = {
        language: {
            split: {"documents": count.documents, "tokens": balanced[language, split]["tokens"]}
            for split, count in about.splits.items()
        }
        for language, about in documents.items()
    }
    console.print(f"plot: {_draw(drawn, plot or folders['run'] / 'corpus.svg')}", markup=False)


def export(recipe_file: Path, out: Path, overrides: Sequence[str], layout: str, runs: Path) -> None:
    """Write the balanced documents, a file a split.

    Raises:
        RecipeError: no layout of that name. ArtifactError: the corpus of this recipe isn't built yet.
    """
    if layout not in _EXPORTS:
        raise RecipeError(f"there is no layout {layout!r}", "--format", "known: " + ", ".join(_EXPORTS))
    folders = _folders(recipe_file, overrides, runs)
    for name in ("corpus", "blocks"):
        check_files(folders[name])

    def chosen(split: str, language: str) -> np.ndarray:
        rows: np.ndarray = np.load(folders["blocks"] / "selected" / split / f"{language}.npy", allow_pickle=False)
        return rows

    for path in _EXPORTS[layout](folders["corpus"], out, chosen):
        print(path)


def _folders(recipe_file: Path, overrides: Sequence[str], runs: Path) -> dict[str, Path]:
    """Folders of the run and of its corpus and blocks."""
    recipe = read_recipe(recipe_file, overrides)
    store = Store(run_folder(runs, recipe))
    plan = make_plan(recipe, store, until=["blocks"])
    missing = [planned.name for planned in plan.missing]
    if missing:
        command = " ".join(["mome data build", str(recipe_file), *map(json.dumps, overrides)])
        raise ArtifactError(f"the corpus isn't built yet (missing: {', '.join(missing)})", str(store.root), command)
    return {"run": store.root, **{planned.name: planned.artifact.folder for planned in plan.steps if planned.artifact}}


def _counts_table(
    documents: Mapping[str, LanguageSummary],
    tokens: Mapping[tuple[str, str], int],
    balanced: Mapping[tuple[str, str], Mapping[str, Any]],
) -> Table:
    table = _table("Corpus", "documents", "characters", "tokens", "balanced\ntokens", "B per\ntoken")
    for language, about in documents.items():
        for split, count in about.splits.items():
            row = balanced[language, split]
            figures = (count.documents, count.characters, tokens[language, split], row["tokens"])
            ratio = f"{row['bytes_per_token']:.2f}"
            table.add_row(language, _SHORT.get(split, split), *(f"{figure:,}" for figure in figures), ratio)
    return table


def _removed_table(documents: Mapping[str, LanguageSummary]) -> Table:
    reasons = sorted({reason for about in documents.values() for reason in about.removed})
    table = _table("Documents removed", *(reason.replace("_", "\n") for reason in reasons))
    for language, about in documents.items():
        for split, removed in (about.removed_by_split or {"all": about.removed}).items():
            figures = (f"{removed.get(reason, 0):,}" for reason in reasons)
            table.add_row(language, _SHORT.get(split, split), *figures)
    if any(not about.removed_by_split for about in documents.values()):
        table.caption = "all: removed before the splits are drawn, so that no text is in two of them"
        table.caption_justify = "left"
    return table


def _read_lines(documents: Mapping[str, LanguageSummary]) -> list[str]:
    """Which files were read of each language, and what was not."""
    lines = []
    for language, about in documents.items():
        lines += [f"{language}: {sentence}" for sentence in files_told(about.files)]
        lines += [
            f"{language}: {name}: {rule}: {number:,} {what}"
            for name, did in about.filters.items()
            for key, what in (("rules", "documents dropped"), ("edits", "lines taken out"))
            for rule, number in did[key].items()
        ]
        if about.unreadable["rows"]:
            lines.append(
                f"{language}: {about.unreadable['rows']:,} rows that are no documents: {about.unreadable['first']}"
            )
        lines += [f"{language}: a file left out from there on: {file}" for file in about.unreadable.get("files", ())]
    return lines


def _table(title: str, *figures: str) -> Table:
    """A table by language and split, narrow enough for 80 columns."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in ("language", "split"):
        table.add_column(heading, no_wrap=True)
    for heading in figures:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _draw(counts: dict[str, dict[str, Any]], path: Path) -> Path:
    from orchestrator.reporting.data_sections import splits_figure

    path.write_text(splits_figure(counts).svg, encoding="utf-8")
    return path
