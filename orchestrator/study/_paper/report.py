"""Stage: everything that a study has trained and measured -> its report, a page a question."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from orchestrator.config.base import Section
from orchestrator.environment import Environment
from orchestrator.stages.base import Stage
from orchestrator.study._paper.pages import write_study_report

What = Literal["evaluation", "mixture", "training", "student", "measure", "session", "trial"]


class StudyEntry(Section):
    """What a step of the study is to the report."""

    step: str
    """Name of the step, which is the role of its artifact."""
    what: What
    """A mixture's losses under all its uses; its folder; a training of its experts; a baseline, and its losses; a
    session of the study of forgetting; a sweep's trial."""
    name: str
    """Setup, baseline, kind of session ("sequential", "added-jeet", …; in order), or "sweep: configuration"."""
    seed: int
    """Seed of the training."""
    language: str = ""
    """Language learned (several with commas); none: all."""


class StudyReportStage(Stage):
    """Writes `index.html` with the verdicts, a page a question, `report.md`, `results.json` and `figures/`."""

    recipe: dict[str, Any]
    """The recipe as plain data, without resources and tracking."""
    entries: tuple[StudyEntry, ...]
    """The steps by what they are."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`~orchestrator.stages.base.Stage`.

        Raises:
            ArtifactError: an artifact is missing or damaged.
        """
        entries = [entry.model_dump() for entry in self.entries]
        for sentence in write_study_report(inputs, entries, self.recipe, out):
            env.log({"message": sentence})
