"""Stage: every artifact of a run -> its report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.environment import Environment
from orchestrator.reporting.report import write_report
from orchestrator.stages.base import Stage


class ReportStage(Stage):
    """Writes `index.html`, `report.md`, `results.json` and `figures/`."""

    recipe: dict[str, Any]
    """The recipe as plain data, without resources and tracking; shown in the report."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`~orchestrator.stages.base.Stage`.

        Raises:
            ArtifactError: an artifact is missing or damaged.
        """
        for sentence in write_report(inputs, self.recipe, out):
            env.log({"message": sentence})
