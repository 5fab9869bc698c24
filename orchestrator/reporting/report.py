"""The report of a run: its results as one document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.reporting import data_sections, model_sections, sentences
from orchestrator.reporting.alignment_section import alignments
from orchestrator.reporting.document import Document, write
from orchestrator.reporting.formats import compact, duration, memory, share
from orchestrator.reporting.learning_section import learning
from orchestrator.reporting.results import collect
from orchestrator.reporting.run_results import RunResults
from orchestrator.reporting.samples_section import samples
from orchestrator.reporting.vocabulary_section import vocabularies

_ROOM = Path(__file__).parent


def write_report(inputs: Mapping[str, Path], recipe: dict[str, Any], out: Path) -> tuple[str, ...]:
    """Write `index.html`, `report.md`, `results.json` and `figures/` into `out` from the artifacts of one run.

    Args:
        inputs: role -> artifact folder, see :func:`orchestrator.reporting.results.collect`.
        recipe: the recipe as plain data, without resources and tracking.
        out: an empty folder.

    Returns:
        The summary, in sentences.

    Raises:
        ArtifactError: an artifact is missing or damaged.
    """
    results = collect(inputs, recipe)
    document = report(results, paper_figures())
    write(document, results, out)
    return document.summary


def report(results: RunResults, paper: dict[str, Any]) -> Document:
    """The document of a run's results, with the paper's figures where they can stand beside them."""
    experts = [results["models"][lang]["parameters"] for lang in results["languages"]]
    facts = (
        ("Languages", ", ".join(results["languages"])),
        ("Teacher parameters", compact(results["models"]["teacher"]["parameters"])),
        ("Expert parameters", f"{len(experts)} × {compact(max(experts))}"),
        ("Router accuracy", share(results["table3_router"][results["router"]["used"]]["accuracy"])),
        ("Time, all steps", duration(results["seconds"]["total"])),
        ("Largest memory of a step", memory(results["peak_memory_bytes"]["largest"])),
        ("Memory of the whole run", memory(results["peak_memory_bytes"]["run"])),
    )
    sections = (
        model_sections.perplexities(results),
        model_sections.beside_paper(results, paper),
        model_sections.router(results, paper),
        model_sections.models(results),
        *vocabularies(results),
        *alignments(results),
        *samples(results),
        learning(results),
        data_sections.corpus(results),
        data_sections.tokenizer(results),
        data_sections.recipe(results),
        data_sections.lineage(results),
    )
    description = str(results["recipe"].get("description", ""))
    return Document(f"Run “{results['name']}”", description, facts, sentences.summary(results), sections)


def paper_figures() -> dict[str, Any]:
    """The paper's figures that a report compares with (`paper.json`, with their source)."""
    return dict(json.loads((_ROOM / "paper.json").read_text(encoding="utf-8")))
