"""Stage: a joint mixture without some of its experts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.artifacts import write_json
from orchestrator.environment import Environment
from orchestrator.stages.base import Stage


class RemainingExpertsStage(Stage):
    """Drops experts; what stays is not changed. Reads `mixture` and `tokenizer`; writes what
    :class:`orchestrator.stages.joint.JointStage` writes, of a training of no step.
    """

    languages: tuple[str, ...]
    """Languages of the experts that stay."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:  # noqa: ARG002 (nothing to compute)
        """See :class:`~orchestrator.stages.base.Stage`.

        Raises:
            ArtifactError: the mixture is damaged. ResourceError: no disk space.
        """
        from orchestrator.models import weights_digest
        from orchestrator.models.mixture_files import load_mixture, read_about, save_mixture

        setup, _ = read_about(inputs["mixture"])
        mixture = load_mixture(inputs["mixture"])
        mixture.keep(self.languages)
        save_mixture(mixture, setup, inputs["tokenizer"], out)
        parameters = sum(parameter.numel() for parameter in mixture.parameters())
        facts = {"parameters": parameters, "steps": 0, "tokens": 0, "seconds": 0.0, "world_size": 1}
        write_json(out / "training.json", {**facts, "weights_sha256": weights_digest(mixture)})
        (out / "metrics.jsonl").touch()
