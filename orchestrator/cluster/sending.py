"""Errors of workers, made so that they can be read where they are sent to. Free of Ray Train: see training.py."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sendable() -> Iterator[None]:
    """Let an error of the block, in a worker, be one that can be read where it is sent to."""
    try:
        yield
    except BaseException as error:
        if _survives(error):
            raise
        raise RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__) from None


def _survives(error: BaseException) -> bool:
    if isinstance(error, SystemExit):  # Ray takes it for the wish to end the process, and so for its death
        return False
    try:
        return type(copy.deepcopy(error)) is type(error)  # taken apart and made again as for sending
    except Exception:
        return False
