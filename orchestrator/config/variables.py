"""Environment variables in a recipe's texts: ``${NAME}`` and ``${NAME:-default}``."""

from __future__ import annotations

import os
import re
from typing import Any

from orchestrator.errors import RecipeError

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def expand(value: Any, where: str) -> Any:
    """A value whose texts have the values of the environment variables that they name; `where` says of what, in errors.

    Raises:
        RecipeError: a variable is not set and has no default.
    """
    if isinstance(value, dict):
        return {key: expand(item, where) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item, where) for item in value]
    return _VARIABLE.sub(lambda match: _variable(match, where), value) if isinstance(value, str) else value


def _variable(match: re.Match[str], where: str) -> str:
    name, default = match.groups()
    value = os.environ.get(name, default)
    if value is None:
        raise RecipeError(f"the environment variable {name} is not set", where, f"export {name}=…")
    return value
