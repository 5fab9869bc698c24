"""What an artifact was made with: code, data files of the package, libraries. Recorded, and no part of its identity.

Where they differ from what is installed now (drift), a plan, `mome show` and the report say so; `mome run --strict`
makes such steps again, `--accept` records that they are as good. After the "advisory drift" of marin's lazy artifacts.
"""

from __future__ import annotations

import ast
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import orchestrator
from orchestrator.artifacts import digest
from orchestrator.disk import file_digest

LIBRARIES = (
    *("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "scikit-learn", "pyarrow"),
    *("ray", "deepspeed", "mlflow", "datasets"),
)
"""Packages whose versions are recorded."""
_NO_RESULT = ("ray", "mlflow", "mome-orchestrator")
"""They move things about and compute nothing that is in an artifact; the package's own code is compared itself."""
_ROOT = Path(orchestrator.__file__).parent
_PACKAGE = _ROOT.name


@dataclass(frozen=True)
class Drift:
    """How what is installed differs from what an artifact was made with.

    Attributes:
        package: any file of the package differs. code: one does that the step runs on.
        libraries: "torch 2.12.0, now 2.13.0" …
    """

    package: bool
    code: bool
    libraries: tuple[str, ...]

    @property
    def reaches(self) -> bool:
        """Whether the step could come out otherwise now."""
        return self.code or bool(self.libraries)


def provenance(modules: Iterable[str]) -> dict[str, Any]:
    """What a step that begins in these modules (of its stage and of its plug-ins) would be made with now."""
    roots = sorted(set(modules))
    return {"code": {"package": package_digest(), "reached": code_digest(roots), "from": roots}, "versions": versions()}


def drift(made: Mapping[str, Any], accepted: Iterable[Mapping[str, Any]] = ()) -> Drift:
    """How what is installed differs from a manifest; from the nearest of it and what was accepted for it.

    Args:
        made: manifest of an artifact. accepted: what :func:`provenance` said when it was accepted.
    """
    found = [_drift(each) for each in (made, *accepted)]
    return min(found, key=lambda each: (each.reaches, each.package, len(each.libraries)))


def _drift(made: Mapping[str, Any]) -> Drift:
    code, was = made.get("code"), made.get("versions", {})
    if not isinstance(code, Mapping):  # of a version that recorded a digest alone
        code = {"package": "", "reached": "", "from": []}
    package = code["package"] != package_digest()
    changed = [
        f"{name} {was[name]}, now {now}"
        for name, now in versions().items()
        if name not in _NO_RESULT and was.get(name, now) != now
    ]
    return Drift(package, package and code["reached"] != code_digest(code["from"]), tuple(changed))


def told(drifts: Mapping[str, Drift]) -> str:
    """One line on steps, by name, that were made with something else than what is installed now; "" where none were."""
    edited = [name for name, each in drifts.items() if each.package]
    libraries = sorted({change for each in drifts.values() for change in each.libraries})
    if not edited and not libraries:
        return ""
    reached_ = [name for name, each in drifts.items() if each.reaches]
    what = [f"the code of mome-orchestrator differs from what made {len(edited)} stages"] if edited else []
    which = f"reaches {', '.join(reached_)}" if reached_ else "no stage runs on what differs"
    return "; ".join([*what, *libraries]) + f" ({which})"


@cache
def versions() -> dict[str, str]:
    """Versions of this package, Python, and the libraries, where they are installed."""
    found = {"mome-orchestrator": orchestrator.__version__, "python": platform.python_version()}
    for package in LIBRARIES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def package_digest() -> str:
    """SHA-256 over every file of the package."""
    return digest([[path.relative_to(_ROOT).as_posix(), file_digest(path)] for path in _files(_ROOT)])


def code_digest(modules: Iterable[str]) -> str:
    """SHA-256 over the source of modules and of all they import of this package, and the data files beside these."""
    return _digest_of(tuple(sorted(reached(modules))))


@cache
def _digest_of(modules: tuple[str, ...]) -> str:
    folders = {path.parent for module in modules if (path := _source(module)) and path.name == "__init__.py"}
    data = {path for folder in folders for path in _files(folder) if _owner(path) == folder and path.suffix != ".py"}
    sources = {path for module in modules if (path := _source(module))}
    return digest([[path.relative_to(_ROOT).as_posix(), file_digest(path)] for path in sorted(sources | data)])


def reached(modules: Iterable[str]) -> set[str]:
    """Modules of this package that are imported, at any depth and inside functions too, from these, which count."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += [*_imports(module), *filter(None, [module.rpartition(".")[0]])]  # its package is run first
    return found


@cache
def _imports(module: str) -> tuple[str, ...]:
    path = _source(module)
    return () if path is None else tuple(_named_in(ast.parse(path.read_bytes())))


def _named_in(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name for name in names if _source(name))


def _source(module: str) -> Path | None:
    """The file of a module of this package; None for anything else."""
    top, *rest = module.split(".")
    if top != _PACKAGE:
        return None
    place = _ROOT.joinpath(*rest)
    return next((path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()), None)


def _owner(path: Path) -> Path:
    """The package that a data file lies in: the nearest folder above with code."""
    return next(folder for folder in path.parents if (folder / "__init__.py").is_file())


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
