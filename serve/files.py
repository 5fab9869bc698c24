"""Where a run keeps what serving reads: tokenizer, router and experts, from its artifacts and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.artifacts import Store
from orchestrator.errors import ArtifactError
from serve.errors import UnknownModelError

_EXPERT = "expert-"


@dataclass(frozen=True)
class MixtureFiles:
    """Folders of one version of a mixture. Artifacts are immutable, so a later run of the recipe changes nothing here.

    Attributes:
        tokenizer, router: artifact folders. experts: language -> Hugging Face folder of its expert.
    """

    tokenizer: Path
    router: Path
    experts: Mapping[str, Path]

    @classmethod
    def of(cls, run: Path) -> MixtureFiles:
        """The current artifacts of a run folder.

        Raises:
            ArtifactError: the run is not finished, or an artifact is missing or damaged.
        """
        artifacts = Store(run.resolve()).current()
        experts = {
            name.removeprefix(_EXPERT): a.folder / "model" for name, a in artifacts.items() if name.startswith(_EXPERT)
        }
        missing = [step for step in ("tokenizer", "router") if step not in artifacts] + (
            [] if experts else ["expert-*"]
        )
        if missing:
            raise ArtifactError(f"the run has no {', '.join(missing)}", str(run), "finish it: mome run RECIPE")
        return cls(artifacts["tokenizer"].folder, artifacts["router"].folder, dict(sorted(experts.items())))

    def expert(self, name: str) -> Path:
        """The folder of an expert.

        Raises:
            UnknownModelError: there is none of that name.
        """
        try:
            return self.experts[name]
        except KeyError:
            raise unknown_model(name, self.experts) from None


def unknown_model(name: str, experts: Mapping[str, object]) -> UnknownModelError:
    """The error for a model name that is neither `auto` nor an expert's."""
    return UnknownModelError(f"there is no model {name!r}", fix=f"use one of: auto, {', '.join(experts)}")
