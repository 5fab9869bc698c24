"""One tree of errors. Each says what happened, where, and what to do next, and survives crossing a process.

The command line prints a :class:`MomeError` without a traceback and exits with code 2. Anything else is a fault of the
program: a :class:`FaultError` tells it in a line, its traceback goes to a file, and the exit code is 1. Raise the
narrowest class; add a class only where a caller needs to tell the case apart.
"""

from __future__ import annotations

from typing import Any


class MomeError(Exception):
    """A failure that a person can act on.

    Args:
        what: what happened, in one sentence without a final full stop.
        where: the file, field, stage or line it happened at ("" when there is none).
        fix: what to type or change next ("" when nothing helps).
    """

    exit_code = 2

    def __init__(self, what: str, where: str = "", fix: str = "") -> None:
        super().__init__(what, where, fix)
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"  where: {self.where}")
        if self.fix:
            parts.append(f"  next:  {self.fix}")
        return "\n".join(parts)

    def __reduce__(self) -> tuple[type[MomeError], tuple[Any, ...]]:
        return type(self), (self.what, self.where, self.fix)


class RecipeError(MomeError):
    """The recipe, or an override of it, is not valid."""


class PluginError(MomeError):
    """A plug-in of that name does not exist, or does not take that option."""


class ArtifactError(MomeError):
    """An artifact is missing, damaged, or belongs to another recipe."""


class CorpusError(MomeError):
    """A source can't be read, or holds too little text for what was asked."""


class TokenizerError(MomeError):
    """A tokenizer can't be trained or loaded as asked."""


class ModelError(MomeError):
    """A model does not exist or does not fit its tokenizer, teacher or context."""


class VocabularyError(ModelError):
    """A pretrained model's tokens are not the run's."""


class TrainingError(MomeError):
    """Training can't go on: loss not finite, checkpoint damaged, batch that does not divide."""


class ResourceError(MomeError):
    """The machine or cluster lacks what was asked for: GPUs, memory, disk, a package, a hub."""


class OutOfMemoryError(ResourceError):
    """There is too little memory for what a training computes at once.

    Args:
        what, where, fix: see :class:`MomeError`.
        at_once: blocks that were computed at once.
    """

    def __init__(self, what: str, where: str = "", fix: str = "", at_once: int = 1) -> None:
        super().__init__(what, where, fix)
        self.at_once = at_once

    def __reduce__(self) -> tuple[type[MomeError], tuple[Any, ...]]:
        return type(self), (self.what, self.where, self.fix, self.at_once)


class NodeLeavingError(ResourceError):
    """A node is about to be taken away: its training has written a checkpoint and ended."""


class RunLockedError(MomeError):
    """Another process is at work in this run's folder."""


class StageFailedError(MomeError):
    """Several stages of a run failed; what was finished is kept."""


class StoppedEarlyError(MomeError):
    """A step was stopped because others were ahead, or because nothing needs it any more: no failure."""


class ServingError(MomeError):
    """A request or a deployment can't be served as asked."""


class FaultError(MomeError):
    """A fault of the program itself; `where` is the file with its traceback."""

    exit_code = 1

    def __str__(self) -> str:
        return f"{self.what} (a fault of the program; traceback: {self.where})"
