"""Optional packages: what lacks one is told with the line that installs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import ResourceError


@contextmanager
def needs_cluster(otherwise: str = "") -> Iterator[None]:
    """Import what needs Ray in the block.

    Args:
        otherwise: what to do without it, as part of a sentence.

    Raises:
        ResourceError: Ray, or what belongs to it, is not installed.
    """
    try:
        yield
    except ImportError as error:
        install = "pip install 'mome-orchestrator[cluster]'"
        raise ResourceError(f"Ray is not installed ({error})", fix=f"{install}{otherwise}") from None


@contextmanager
def needs_interface() -> Iterator[None]:
    """Import what needs the packages of the HTTP interface in the block.

    Raises:
        ResourceError: one is not installed.
    """
    try:
        yield
    except ImportError as error:
        fix = "pip install 'mome-orchestrator[serve]'"
        raise ResourceError(f"the HTTP interface needs a package ({error})", fix=fix) from None
