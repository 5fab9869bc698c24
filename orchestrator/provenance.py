"""What an artifact was made with: code, data files of the package, libraries. Recorded, and no part of its identity.

Where they differ from what is installed now (drift), a plan, `mome show` and the report say so; `mome run --strict`
makes such steps again, `--accept` records that they are as good. After the "advisory drift" of marin's lazy artifacts.
"""

from __future__ import annotations

import ast
import importlib.util
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import orchestrator
from orchestrator import plugins
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
        package: any file of the package differs.
        code: a file differs that the step runs on, of the package or of somebody else's plug-in.
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
        made: manifest of an artifact.
        accepted: what :func:`provenance` said when it was accepted.
    """
    found = [_drift(each) for each in (made, *accepted)]
    return min(found, key=lambda each: (each.reaches, each.package, len(each.libraries)))


def _drift(made: Mapping[str, Any]) -> Drift:
    code, was = made.get("code"), made.get("versions", {})
    if not isinstance(code, Mapping):  # of a version that recorded a digest alone
        code = {"package": "", "reached": "", "from": []}
    package = code["package"] != package_digest()
    others = any(module.partition(".")[0] != _PACKAGE for module in code["from"])
    reached_ = (package or others) and code["reached"] != code_digest(code["from"])
    changed = [
        f"{name} {was[name]}, now {now}"
        for name, now in versions().items()
        if name not in _NO_RESULT and was.get(name, now) != now
    ]
    return Drift(package, reached_, tuple(changed))


def told(drifts: Mapping[str, Drift]) -> str:
    """One line on steps, by name, that were made with something else than what is installed now; "" where none were."""
    edited = [name for name, each in drifts.items() if each.package]
    others = [name for name, each in drifts.items() if each.code and not each.package]
    libraries = sorted({change for each in drifts.values() for change in each.libraries})
    if not (edited or others or libraries):
        return ""
    reached_ = [name for name, each in drifts.items() if each.reaches]
    what = [f"the code of mome-orchestrator differs from what made {len(edited)} stages"] if edited else []
    what += [f"the code of a plug-in differs from what made {len(others)} stages"] if others else []
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
    """SHA-256 over the source of modules and of all they import (:func:`reached`), and our data files beside it."""
    roots = tuple(sorted(set(modules)))
    return _digest_of(tuple(sorted(reached(roots))), _homes(roots))


@cache
def _digest_of(modules: tuple[str, ...], homes: tuple[_Home, ...]) -> str:
    sources = {path for module in modules if (path := _source(module, homes))}
    ours = {path for path in sources if path.is_relative_to(_ROOT)}
    folders = {path.parent for path in ours if path.name == "__init__.py"}
    data = {path for folder in folders for path in _data(folder)}
    named = [(path.relative_to(_ROOT), path) for path in sorted(ours | data)]
    named += [(path.relative_to(_home_of(path, homes)), path) for path in sorted(sources - ours)]
    return digest([[name.as_posix(), _digest(path)] for name, path in named])


_digest = cache(file_digest)  # steps begin in few modules of their own, and reach the same ones


@cache
def _data(folder: Path) -> tuple[Path, ...]:
    """Files of a package that are no code, and of folders in it that are no packages."""
    return tuple(path for path in _files(folder) if path.suffix != ".py" and _owner(path) == folder)


def reached(modules: Iterable[str]) -> set[str]:
    """Modules that are imported, at any depth and inside functions too, from these, which count.

    Modules of this package are followed, and of the packages that these modules lie in: somebody else's plug-ins. Where
    such a package is not installed, but lies in a folder, so are its neighbours there.
    """
    waiting = list(modules)
    homes, found = _homes(waiting), set[str]()
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += [*_imports(module, homes), *filter(None, [module.rpartition(".")[0]])]  # its package runs first
    return found


class _Home(NamedTuple):
    """A folder with somebody else's code. only: the one package of it that counts; "": all."""

    folder: Path
    only: str


def _homes(modules: Iterable[str]) -> tuple[_Home, ...]:
    return tuple(home for top in sorted({m.partition(".")[0] for m in modules} - {_PACKAGE}) if (home := _home(top)))


@cache
def _home(package: str) -> _Home | None:
    plugins.see_current_folder()
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # __main__
        return None
    places = [] if spec is None else [*(spec.submodule_search_locations or ()), *filter(None, [spec.origin])]
    if not places:
        return None
    folder = Path(places[0]).parent
    return _Home(folder, package if folder.name in ("site-packages", "dist-packages") else "")


def _home_of(path: Path, homes: Iterable[_Home]) -> Path:
    return next(home.folder for home in homes if path.is_relative_to(home.folder))


@cache
def _imports(module: str, homes: tuple[_Home, ...]) -> tuple[str, ...]:
    path = _source(module, homes)
    if path is None:
        return ()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return tuple(name for name in _named_in(ast.parse(path.read_bytes()), package) if _source(name, homes))


def _named_in(tree: ast.Module, package: str) -> Iterator[str]:
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.expr):  # most of a tree, and no import is below one
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom):
            above = ".".join(package.split(".")[: len(package.split(".")) + 1 - node.level]) if node.level else ""
            module = ".".join(filter(None, [above, node.module]))
            yield from (module, *(f"{module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@cache
def _source(module: str, homes: tuple[_Home, ...] = ()) -> Path | None:
    """The file of a module of this package, or in one of the homes; None for anything else."""
    top, *rest = module.split(".")
    folders = [home.folder / top for home in homes if home.only in ("", top)]
    for place in [_ROOT] if top == _PACKAGE else folders:
        whole = place.joinpath(*rest)
        for path in (whole / "__init__.py", whole.with_name(f"{whole.name}.py")):
            if path.is_file():
                return path
    return None


def _owner(path: Path) -> Path:
    """The package that a data file lies in: the nearest folder above with code."""
    return next(folder for folder in path.parents if (folder / "__init__.py").is_file())


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
