"""Stage: a joint mixture without some of its experts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from orchestrator.artifacts import disk_errors, link_or_copy
from orchestrator.models.mixture import COMMON
from orchestrator.models.mixture_files import COMBINERS, read_about, write_about
from orchestrator.stages._mixing import MIXTURES
from orchestrator.stages.base import Environment, Stage


class RemainingExpertsStage(Stage):
    """Links what stays of a mixture: no weight changes. Reads `mixture`; writes what
    :class:`orchestrator.stages.joint.JointStage` writes, but for its training.
    """

    code: ClassVar[tuple[str, ...]] = (*MIXTURES, "stages.remaining_experts")

    languages: tuple[str, ...]
    """Languages of the experts that stay, in their order."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:  # noqa: ARG002 (nothing to compute)
        """See :class:`~orchestrator.stages.base.Stage`.

        Raises:
            ArtifactError: the mixture is damaged. ResourceError: no disk space.
        """
        from safetensors.torch import load_file, save_file

        mixture = inputs["mixture"]
        setup, _ = read_about(mixture)
        with disk_errors(out):
            for name in (*(f"experts/{language}" for language in self.languages), COMMON):
                if (mixture / name).is_dir():
                    shutil.copytree(mixture / name, out / name, copy_function=link_or_copy)
            if (mixture / COMBINERS).is_file():
                learned = load_file(mixture / COMBINERS)
                kept = {name: value for name, value in learned.items() if name.partition(".")[0] in self.languages}
                save_file(kept, out / COMBINERS)
            write_about(out, setup, self.languages)
