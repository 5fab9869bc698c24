"""What is exported: the parts of a finished run, as its current mixture is served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.artifacts import Artifact, Store
from orchestrator.errors import ModelError
from orchestrator.mixtures.versions import Versions, recipe_of
from orchestrator.models import load_model
from orchestrator.models.mixture import COMMON
from orchestrator.models.mixture_files import ABOUT
from serve.files import MixtureFiles
from serve.text import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Source:
    """A finished run: its current version, or its latest artifacts where it has no version yet.

    Attributes:
        root: of the run.
        files: tokenizer, router and experts.
        common: experts compute beside the common expert, where there is one, as they do when they are served.
    """

    root: Path
    files: MixtureFiles
    common: bool = True

    @classmethod
    def of(cls, root: Path, common: bool = True) -> Source:
        """The run in `root`.

        Raises:
            ArtifactError: it is not finished, or a part is missing or damaged.
        """
        return cls(root, MixtureFiles.of(root), common)

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.root.name

    @cached_property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe that describes the mixture, as plain data.

        Raises:
            ArtifactError: it can't be read.
        """
        version = Versions(self.root).current()
        return version.recipe if version else recipe_of(Store(self.root))

    @cached_property
    def experts(self) -> Mapping[str, Expert]:
        """By name; the common expert among them where text of no language goes to it."""
        return {name: Expert(name, folder, self) for name, folder in self.files.experts.items()}

    def expert(self, name: str) -> Expert:
        """An expert by its name.

        Raises:
            UnknownModelError: there is none.
        """
        self.files.expert(name)
        return self.experts[name]

    def routed_to(self, name: str) -> Source:
        """The same run with one of its experts; the common one stays where text of no language goes to it.

        Raises:
            UnknownModelError: there is none of that name.
        """
        return replace(self, files=self.files.only([name]))

    def only(self, name: str) -> Source:
        """The same run with one of its experts, and no other.

        Raises:
            UnknownModelError: there is none of that name.
        """
        return replace(self, files=replace(self.files, experts={name: self.files.expert(name)}))

    def part(self, step: str) -> Artifact | None:
        """What a step has made for the current mixture ("corpus", "evaluation", …); None: there is no such thing.

        Raises:
            ArtifactError: it is damaged.
        """
        version = Versions(self.root).current()
        if version is not None:
            return version.part(step) if step in version.parts else None
        return Store(self.root).current().get(step)


@dataclass(frozen=True)
class Expert:
    """One expert of a run.

    Attributes:
        name: its language, or "common".
        folder: its Hugging Face folder in the run.
        source: the run.
    """

    name: str
    folder: Path
    source: Source

    @property
    def has_common(self) -> bool:
        """Whether it learned to compute beside a common expert."""
        mixture = self.folder.parent.parent
        return self.name != COMMON and (mixture / ABOUT).is_file() and (mixture / COMMON).is_dir()

    @property
    def is_combined(self) -> bool:
        """Whether it computes beside a common expert here: its folder alone gives other answers."""
        return self.source.common and self.has_common

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Of its folder.

        Raises:
            TokenizerError: it is missing or damaged.
        """
        return Tokenizer(self.folder)

    @property
    def vocabulary(self) -> int:
        """Tokens of its tokenizer; the model may have more rows, which no text uses."""
        return len(self.tokenizer.bytes)

    def model(self) -> PreTrainedModel:
        """Its model, in fp32 on the CPU, with as many rows as the tokenizer has tokens.

        A row without a token has a probability like any other in tools that don't know of it, and would be chosen.

        Raises:
            ArtifactError: it is missing or damaged. ModelError: it has a class of our own, which no other tool has.
        """
        model: Any = load_model(self.folder).float()
        if not type(model).__module__.startswith("transformers."):
            what = f"a model of type {model.config.model_type} is not part of transformers or of other tools"
            raise ModelError(what, str(self.folder), "export an expert with another architecture")
        if model.get_input_embeddings().weight.shape[0] > self.vocabulary:
            model.resize_token_embeddings(self.vocabulary)
        found: PreTrainedModel = model
        return found

    def alone(self, tool: str) -> PreTrainedModel:
        """:meth:`model`, for a tool that holds one model.

        Args:
            tool: its name, for the message.

        Raises:
            ModelError: the expert computes beside a common expert. See :meth:`model`.
        """
        if self.is_combined:
            what = f"{tool} can't hold the expert {self.name}: it computes beside a common expert (MoE-CE)"
            fix = "take a format that holds both (--to onnx, --to mixture), or --no-common: alone it answers otherwise"
            raise ModelError(what, str(self.folder), fix)
        return self.model()
