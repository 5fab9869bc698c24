"""What every format is."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from orchestrator.errors import ModelError, ResourceError
from orchestrator.exports._check import Opened, compare
from orchestrator.exports._source import Expert, Source

INSTALL = "pip install 'mome-orchestrator[export]'"


@dataclass(frozen=True)
class Export(ABC):
    """A plug-in of this room: writes a run for a tool, and compares what the tool makes of it with ours.

    What is of single experts derives from :class:`ExpertExport`.
    """

    tool: ClassVar[str]
    """What opens the format, for messages."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Modules that writing needs, beside those that MoME needs itself."""
    checked_by: ClassVar[tuple[str, ...]] = ()
    """Modules that checking needs: the tool."""
    of_one: ClassVar[bool] = False
    """Whether a folder of the format holds a single expert."""

    @abstractmethod
    def write(self, source: Source, out: Path) -> None:
        """Write a run, or those of its experts that `source` has.

        Args:
            source: of what is exported.
            out: an empty folder.

        Raises:
            ModelError: the tool can't hold a model. TokenizerError: nor the tokenizer.
        """

    @abstractmethod
    def check(self, source: Source, folder: Path, count: int) -> Mapping[str, Any]:
        """Open what :meth:`write` wrote in the tool, and compare with the run.

        Args:
            source: that was written.
            folder: where it was written to.
            count: texts to compare.

        Returns:
            What was compared, and with which version of the tool.

        Raises:
            ModelError: the tool makes something else of it.
        """

    def need(self, modules: Sequence[str]) -> None:
        """Make sure that optional packages are there.

        Raises:
            ResourceError: one is not installed.
        """
        if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
            raise ResourceError(f"{self.tool} needs {', '.join(missing)}, which is not installed", fix=INSTALL)


@dataclass(frozen=True)
class ExpertExport(Export):
    """A format of single experts."""

    of_one: ClassVar[bool] = True

    @property
    def tie(self) -> float:
        """Nats between two tokens below which either may be chosen: rounding, or how weights are stored."""
        return 1e-3

    @abstractmethod
    def write_expert(self, expert: Expert, out: Path) -> None:
        """Write an expert.

        Args:
            expert: to be exported.
            out: an empty folder.

        Raises:
            ModelError: the tool can't hold this model. TokenizerError: nor this tokenizer.
        """

    @abstractmethod
    def open(self, folder: Path) -> AbstractContextManager[Opened]:
        """Open what :meth:`write_expert` wrote, in the tool.

        Raises:
            ModelError: the tool does not open it.
        """

    def write(self, source: Source, out: Path) -> None:
        """See :class:`Export`."""
        self.write_expert(_single(source), out)

    def check(self, source: Source, folder: Path, count: int) -> Mapping[str, Any]:
        """See :class:`Export`: token ids of texts, and greedy continuations of a twentieth as many prompts."""
        expert = _single(source)
        with self.open(folder) as opened:
            return compare(expert, opened, self.tool, count, self.tie)


def _single(source: Source) -> Expert:
    if len(source.experts) != 1:
        what = "this format holds one expert"
        raise ModelError(what, "mome export", f"--expert {' or '.join(source.experts)}, or --all: a folder for each")
    (expert,) = source.experts.values()
    return expert
