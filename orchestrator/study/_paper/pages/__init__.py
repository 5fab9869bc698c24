"""The report of a study: a page for each of the paper's research questions."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.reporting.document import Link, write_pages
from orchestrator.reporting.report import paper_figures
from orchestrator.study._paper.pages.artifacts import read_study
from orchestrator.study._paper.pages.baselines import baselines
from orchestrator.study._paper.pages.claims import Answer
from orchestrator.study._paper.pages.common_expert import common
from orchestrator.study._paper.pages.data import Findings, Json
from orchestrator.study._paper.pages.forgetting_page import forgetting
from orchestrator.study._paper.pages.overview import configuration, overview, verdicts
from orchestrator.study._paper.pages.routing import router
from orchestrator.study._paper.pages.setups import compared
from orchestrator.study._paper.pages.sweeps import alpha, alternating, recipes

QUESTIONS: tuple[Callable[[Findings, Json], Answer], ...] = (
    alpha, alternating, router, compared, common, forgetting, recipes, baselines,
)  # fmt: skip
"""Pages after the first one, in their order."""
RUN = "run"
"""Folder of the main line's own report."""


def write_study_report(
    inputs: Mapping[str, Path], entries: Sequence[Mapping[str, Any]], recipe: dict[str, Any], out: Path
) -> tuple[str, ...]:
    """Write the report of a study into `out`.

    Writes `index.html` with the verdicts, `rq1.html` … `rq6.html`, `recipe.html`, `baselines.html`,
    `configuration.html`, `report.md` with all of them, `results.json`, `figures/`, and the main line's report in
    `run/`. Each page says what was not asked.

    Args:
        inputs: role -> artifact folder: "main-report" and the roles of `entries`.
        entries: what the roles are, see :class:`orchestrator.study._paper.report.StudyEntry`.
        recipe: the recipe as plain data.
        out: folder to write into.

    Returns:
        The verdicts, in sentences.

    Raises:
        ArtifactError: an artifact is missing or damaged.
    """
    study, paper = read_study(inputs, entries, recipe), paper_figures()
    answers = [question(study, paper) for question in QUESTIONS]
    pages = (overview(study, answers, paper), *(answer.page for answer in answers), configuration(study))
    write_pages(pages, _results(study, answers), out, [Link(f"{RUN}/index.html", "Main run")])
    shutil.copytree(inputs["main-report"], out / RUN, ignore=shutil.ignore_patterns("manifest.json"))
    return verdicts(answers)


def _results(study: Findings, answers: Sequence[Answer]) -> Json:
    head = {
        "name": study.main["name"],
        "languages": list(study.languages),
        "seeds": list(study.seeds),
        "split": study.main["split"],
        "confidence": study.confidence,
        "claims": [claim.data() for answer in answers for claim in answer.claims],
    }
    numbers: Json = {}
    for answer in answers:
        numbers |= answer.numbers
    return head | numbers | {"recipe": study.recipe}
