"""Kernels of our own, which the machine's compiler builds once and keeps for later processes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.native import SWITCH, load

__all__ = ["SWITCH", "library"]


@cache
def library(name: str) -> Any:
    """The functions of `name.cpp`; None where there is no compiler, another processor, or none are wanted."""
    return load(Path(__file__).with_name(f"{name}.cpp"))
