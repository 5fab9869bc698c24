"""Types of names and shares in recipes."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
RESERVED = ("auto", "average", "best", "common", "error", "frequencies", "none", "shared", "soft", "teacher")
"""Names that mean something else where languages stand: no language is called so."""


def _not_reserved(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f"{name!r} means something else; use a language's code")
    return name


Language = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=16), AfterValidator(_not_reserved)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
