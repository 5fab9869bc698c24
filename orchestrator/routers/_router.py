"""What every router is: language probabilities of token sequences, and a folder that it is stored in."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.artifacts import check_files
from orchestrator.config.routing import BEST, ERROR
from orchestrator.errors import ArtifactError
from orchestrator.routers import _files

Sequences = Sequence[ArrayLike] | NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Policy:
    """What happens to rejected texts. reject: BEST, COMMON, ERROR or a language. reject_above: which are rejected."""

    reject: str = BEST
    reject_above: float = 0.5

    @classmethod
    def of(cls, folder: Path) -> Policy:
        """The policy stored with a router.

        Raises:
            ArtifactError: `router.json` is missing or damaged.
        """
        return cls(**_files.read_json(folder / "router.json").get("policy", {}))

    def rejects(self, rejected: float) -> bool:
        """Whether a text is rejected, by its probability of being of none of the languages."""
        return rejected > self.reject_above

    def expert(self, best: str, rejected: float) -> str | None:
        """Where a text goes whose most probable expert is `best`; None: it is refused."""
        if self.reject == BEST or not self.rejects(rejected):
            return best
        return None if self.reject == ERROR else self.reject


class Router(ABC):
    """Texts to the experts' languages.

    Attributes:
        reads: what it is asked with: "tokens" (the paper's) or "text".
        languages: the labels, in the order of the probabilities' columns.
    """

    reads: ClassVar[str]
    languages: tuple[str, ...]

    @abstractmethod
    def probabilities(self, sequences: Sequences) -> NDArray[np.float64]:
        """Probability of each language for each sequence, alone: the others in the batch change nothing.

        Args:
            sequences: n sequences of token ids, of any lengths, empty and unknown ids included; or an array [n, T].

        Returns:
            float64 [n, L], rows sum to 1.
        """

    def rejection(self, sequences: Sequences) -> NDArray[np.float64]:
        """Probability that a sequence is of none of the languages: float64 [n]; 0 for routers that can't tell."""
        return np.zeros(len(sequences))

    def choose(self, sequences: Sequences) -> list[str]:
        """The most probable language of each sequence; the first in `languages` of equally probable ones."""
        return [self.languages[label] for label in self.probabilities(sequences).argmax(axis=1)]

    @abstractmethod
    def parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Its arrays by name, and what rebuilds it besides them (JSON)."""

    @classmethod
    @abstractmethod
    def rebuild(cls, tensors: dict[str, NDArray[Any]], metadata: dict[str, Any]) -> Router:
        """The inverse of :meth:`parts`."""

    def save(self, folder: Path, name: str) -> str:
        """Write this router's `name`.safetensors and `name`.json.

        Returns:
            Their digest, which :meth:`load` checks.
        """
        tensors, metadata = self.parts()
        return _files.write(folder, name, tensors, {"reads": self.reads, **metadata})

    @staticmethod
    def load(folder: Path, classifier: str | None = None) -> Router:
        """The router stored in `folder` by :func:`save_routers`.

        Args:
            folder: the artifact.
            classifier: which of the stored classifiers; None: the one that the recipe chose.

        Raises:
            ArtifactError: a file is missing, damaged or of another release, or there is no such classifier.
        """
        path = folder / "router.json"
        check_files(path)  # it has the digests of the others
        summary = _files.read_json(path)
        stored = summary.get("classifiers")
        if not isinstance(stored, dict):
            raise ArtifactError("a router file is damaged: it lists no classifiers", str(path), _files.FIX)
        name = classifier or str(summary.get("classifier"))
        if name not in stored:
            raise ArtifactError(f"no router classifier {name!r} is stored", str(path), "stored: " + ", ".join(stored))
        tensors, metadata = _files.read(folder, name, stored[name])
        kind = _kind(str(metadata.pop("reads", "tokens")), path)
        try:
            return kind.rebuild(tensors, metadata)
        except KeyError as error:
            fix = "train it again: mome run RECIPE --force router"
            raise ArtifactError(f"a router of another release: it has no {error}", str(path), fix) from None


def save_routers(
    folder: Path, plugin: str, routers: Mapping[str, Router], used: str, policy: Policy | None = None
) -> None:
    """Write every router by its classifier's name, and `router.json`: plug-in, the one in use, languages, digests.

    Args:
        folder, plugin, routers, used: what to write.
        policy: what to do with rejects; None: the default.
    """
    summary = {
        "type": plugin,
        "classifier": used,
        "languages": list(routers[used].languages),
        "classifiers": {name: router.save(folder, name) for name, router in routers.items()},
        "policy": asdict(policy or Policy()),
    }
    (folder / "router.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")


def _kind(reads: str, path: Path) -> type[Router]:
    from orchestrator.routers._token_router import TokenRouter
    from orchestrator.routers.text.router import TextRouter

    for kind in (TokenRouter, TextRouter):
        if kind.reads == reads:
            return kind
    raise ArtifactError(f"a router of unknown kind {reads!r}", str(path), "upgrade, or train the router again")
