"""Stage: the experts' weights, averaged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.environment import Environment
from orchestrator.stages.base import Stage


class MergedStage(Stage):
    """Reads `expert-<language>` and `tokenizer`; writes `model/` and `training.json` (Branch-Train-Merge)."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:  # noqa: ARG002
        """See :class:`orchestrator.stages.base.Stage`.

        Raises:
            ModelError: the experts are of several architectures. ArtifactError: one can't be loaded.
        """
        from orchestrator.models import load_model
        from orchestrator.models.merge import average_weights
        from orchestrator.training.publish import write_model

        experts = [load_model(folder / "model") for role, folder in inputs.items() if role.startswith("expert-")]
        write_model(average_weights(experts), inputs["tokenizer"], out, {"steps": 0, "tokens": 0, "seconds": 0.0})
