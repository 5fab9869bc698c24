"""MoME: distil one multilingual teacher into small, modular, per-language experts, on Ray or on a laptop.

What a person needs in Python is in this package itself, and is imported when it is first used::

    from orchestrator import load_run, plan, run

    print(plan("quickstart"))
    made = run("quickstart", local=True)
    made.results.experts["en"]["en"].perplexity
    made.route("What is the capital of France?").expert
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
_LAZY = ("Run", "load_run", "plan", "run")
"""Of :mod:`orchestrator.api`, by name and not by an import statement: every module of the package imports this one, and
would depend on all of them (see :func:`orchestrator.provenance.reached`). Type checkers read `__init__.pyi`.
"""


__all__ = ["Run", "load_run", "plan", "run"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("orchestrator.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
