"""Types of names and shares in recipes."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

_NAME, _CODE, _LABEL = r"^[A-Za-z0-9][A-Za-z0-9._-]*$", r"^[A-Za-z][A-Za-z0-9_-]*$", r"^[a-z0-9][a-z0-9_-]*$"
PATTERNS = {
    _NAME: "has to begin with a letter from a to z or a digit; after it . _ and - may stand too",
    _CODE: "has to begin with a letter from a to z; after it digits, _ and - may stand too",
    _LABEL: "has to begin with a small letter from a to z or a digit; after it _ and - may stand too",
}
"""What each of these patterns asks for, in words."""
Name = Annotated[str, Field(pattern=_NAME, max_length=64)]
Label = Annotated[str, Field(pattern=_LABEL, max_length=32)]
"""A name that steps and pages of a study are called by."""
Code = Annotated[str, Field(pattern=_CODE, max_length=16)]
RESERVED = ("auto", "average", "best", "common", "error", "frequencies", "none", "shared", "soft", "teacher")
"""Names that mean something else where languages stand: no language is called so."""


def _not_reserved(name: str) -> str:
    if name.lower() in RESERVED:
        raise ValueError(f"{name!r} means something else; use a language's code")
    return name


Language = Annotated[Code, AfterValidator(_not_reserved)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
