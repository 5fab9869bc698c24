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

from orchestrator.config.routing import BEST, ERROR
from orchestrator.routers import _files

SUMMARY = "router.json"
"""The file that lists the others of a stored router."""
Sequences = Sequence[ArrayLike] | NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Policy:
    """What happens to text of no language.

    Attributes:
        reject: where it goes: BEST, COMMON, ERROR or a language.
        reject_above: the probability of NONE above which a text is rejected as text of no language.
    """

    reject: str = BEST
    reject_above: float = 0.5

    @classmethod
    def of(cls, folder: Path) -> Policy:
        """The policy stored with a router.

        Raises:
            ArtifactError: `router.json` is missing or damaged.
        """
        return cls(**_files.read_json(folder / SUMMARY).get("policy", {}))

    def rejects(self, rejected: float) -> bool:
        """Whether a text is rejected, by its probability of being text of no language."""
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
        """Probability that a sequence is text of no language: float64 [n]; 0 for routers that can't tell."""
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
            Their digest, which :func:`orchestrator.routers.load_router` checks.
        """
        tensors, metadata = self.parts()
        return _files.write(folder, name, tensors, {"reads": self.reads, **metadata})


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
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1), encoding="utf-8")
