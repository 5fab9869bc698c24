"""The router of a run, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.artifacts import Artifact, Store
from orchestrator.errors import ArtifactError
from orchestrator.mixtures.versions import EXPERT, Versions
from orchestrator.routers import Choice, Chooser
from orchestrator.tokens.tokenizer import encode, load_tokenizer
from serve.files import MixtureFiles


class RunRouter:
    """The router of a run's current version, or of its latest artifacts where there are no versions yet."""

    def __init__(self, root: Path, experts: Sequence[str] | None = None) -> None:
        """Load it.

        Args:
            root: of the run.
            experts: those that may serve; None: all that are there, or the router's languages before any is trained.

        Raises:
            ArtifactError: the run has no router, or it is damaged. UnknownModelError: there is no such expert.
        """
        version = Versions(root).current()
        parts = {name: version.part(name) for name in ("router", "tokenizer")} if version else Store(root).current()
        if "router" not in parts:
            raise ArtifactError("the run has no router", str(root), "train it: mome run RECIPE --until router")
        self._parts: dict[str, Artifact] = dict(parts)
        trained = version is not None or any(name == "mixture" or name.startswith(EXPERT) for name in parts)
        if trained or experts is not None:
            files = MixtureFiles.of(root)
            experts = tuple((files if experts is None else files.only(experts)).experts)
        self.chooser = Chooser(self._parts["router"].folder, self._encode, experts)

    def route(self, texts: Sequence[str]) -> list[Choice]:
        """Route texts, each by itself."""
        return self.chooser.choose(texts)

    def _encode(self, texts: Sequence[str]) -> Sequence[Any]:
        return encode(self._tokenizer, [printable(text) for text in texts])

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._parts["tokenizer"].folder)


def printable(text: str) -> str:
    """The text with "?" for what is no character: half a surrogate pair."""
    return text.encode("utf-8", "replace").decode()
