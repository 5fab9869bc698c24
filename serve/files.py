"""Where a run keeps what serving reads: tokenizer, router and experts, from its artifacts and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.artifacts import Artifact, Store, check_files
from orchestrator.config.routing import COMMON
from orchestrator.disk import file_digest
from orchestrator.errors import ArtifactError, ServingError
from orchestrator.mixtures.version import Version
from orchestrator.mixtures.versions import EXPERT, Versions
from orchestrator.routers import Policy
from orchestrator.tokens.kept import ABOUT as VOCABULARY
from orchestrator.tokens.kept import vocabulary_of
from serve.errors import UnknownModelError
from serve.messages import ALONE, AUTO, SOFT


@dataclass(frozen=True)
class MixtureFiles:
    """Folders of one version of a mixture. Nothing changes them, so a later run or change changes nothing here.

    Attributes:
        tokenizer, router: artifact folders.
        experts: language -> Hugging Face folder of its expert; COMMON -> the common expert's, where text of no
            language goes to it.
        version: its number; "0": the run has no versions.
    """

    tokenizer: Path
    router: Path
    experts: Mapping[str, Path]
    version: str = "0"

    @classmethod
    def of(cls, run: Path, number: int | None = None) -> MixtureFiles:
        """A version of a run's mixture, the current one where no number is given; of a run without versions, its latest
        artifacts.

        Raises:
            ArtifactError: the run is not finished, or a part is missing or damaged.
        """
        versions = Versions(run.resolve())
        version = versions.current() if number is None else versions.get(number)
        parts = _parts(version) if version else Store(run.resolve()).current()
        experts = _experts(parts)
        missing = [step for step in ("tokenizer", "router") if step not in parts] + ([] if experts else ["expert-*"])
        if missing:
            raise ArtifactError(f"the run has no {', '.join(missing)}", str(run), "finish it: mome run RECIPE")
        router = parts["router"].check().folder
        folders = dict(sorted(experts.items())) | _common(parts, router)
        return cls(parts["tokenizer"].check().folder, router, folders, str(version.number) if version else "0")

    @property
    def context(self) -> int:
        """Longest prompt and answer together, in tokens: the least of the experts'.

        Raises:
            ArtifactError: an expert's configuration can't be read.
        """
        return min(map(_context, self.experts.values()))

    @property
    def special(self) -> tuple[str, ...]:
        """Model names that are no expert's and that this mixture makes sense of."""
        common = any((folder.parent.parent / COMMON).is_dir() for folder in self.experts.values())
        of_their_own = any((folder / VOCABULARY).is_file() for folder in self.experts.values())
        return (AUTO, *[ALONE] * common, *[SOFT] * (len(self.experts) > 1 and not of_their_own))

    def check(self) -> MixtureFiles:
        """Read every expert's files once, to compare them with what was published.

        Raises:
            ArtifactError: a file has changed since then.
        """
        for folder in self.experts.values():
            check_files(folder)
        return self

    def check_newcomer(self, expert: Path) -> None:
        """Whether an expert can be served beside these: requests have the run's tokens, and as many for every expert.

        Raises:
            ServingError: no model, another tokenizer, or a shorter context. ArtifactError: its files are damaged.
        """
        if not (expert / "config.json").is_file():
            raise ServingError("there is no model (config.json)", str(expert), "name the folder `model` of an expert")
        if _tokenizer(expert) != _tokenizer(self.tokenizer):
            what = "the expert has another tokenizer than the mixture"
            raise ServingError(what, str(expert), "name an expert that was trained with the run's tokenizer")
        if (own := _context(expert)) < self.context:
            what = f"the expert's context is {own} tokens, and the mixture's {self.context}"
            raise ServingError(what, str(expert), "name an expert whose context is as long")

    def only(self, names: Sequence[str]) -> MixtureFiles:
        """The same with some of the experts: the router chooses the most probable of those; the common one stays.

        Raises:
            UnknownModelError: there is none of a name, or no name.
        """
        if not names:
            raise UnknownModelError("no expert is left to serve", fix=f"allow one of: {', '.join(self.experts)}")
        common = [COMMON] if COMMON in self.experts else []
        return replace(self, experts={name: self.expert(name) for name in [*names, *common]})

    def expert(self, name: str) -> Path:
        """The folder of an expert.

        Raises:
            UnknownModelError: there is none of that name.
        """
        try:
            return self.experts[name]
        except KeyError:
            raise unknown_model(name, self.experts) from None


def _context(expert: Path) -> int:
    file = expert / "config.json"
    try:
        told = json.loads(file.read_text("utf-8"))
        return int(next(told[name] for name in ("max_position_embeddings", "n_positions") if name in told))
    except (OSError, ValueError, TypeError, StopIteration):
        raise ArtifactError("the expert's configuration can't be read", str(file), "make it again: mome run") from None


def _tokenizer(folder: Path) -> str:
    """Identity of a folder's tokenizer, or of the one that an expert's own was cut from; "": it has none."""
    kept, file = vocabulary_of(folder), folder / "tokenizer.json"
    return kept.tokenizer if kept else file_digest(file) if file.is_file() else ""


def _parts(version: Version) -> dict[str, Artifact]:
    """What is read of a version: its mixture, or, where it is older than those, its experts."""
    experts = ["mixture"] if "mixture" in version.parts else [n for n in version.parts if n.startswith(EXPERT)]
    return {name: version.part(name) for name in ("tokenizer", "router", *experts)}


def _experts(parts: Mapping[str, Artifact]) -> dict[str, Path]:
    """Language -> folder of its expert: experts that were trained together are in the mixture alone."""
    if "mixture" in parts:
        return {folder.name: folder for folder in (parts["mixture"].folder / "experts").iterdir()}
    return {name.removeprefix(EXPERT): a.folder / "model" for name, a in parts.items() if name.startswith(EXPERT)}


def _common(parts: Mapping[str, Artifact], router: Path) -> dict[str, Path]:
    """The common expert's folder, where the mixture has one and text of no language goes to it."""
    if "mixture" not in parts or Policy.of(router).reject != COMMON:
        return {}
    folder = parts["mixture"].folder / COMMON
    return {COMMON: folder} if folder.is_dir() else {}


def unknown_model(name: str, experts: Mapping[str, object]) -> UnknownModelError:
    """The error for a model name that is neither `auto` nor an expert's."""
    return UnknownModelError(f"there is no model {name!r}", fix=f"use one of: auto, {', '.join(experts)}")
