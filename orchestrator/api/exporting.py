"""A run's experts out to other tools: what to write where, checked before it appears."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import plugins
from orchestrator.artifacts import write_json
from orchestrator.disk import place_folder
from orchestrator.errors import ArtifactError, ModelError
from orchestrator.provenance import versions

if TYPE_CHECKING:
    from orchestrator.exports import Export, Source

ABOUT = "export.json"
"""In every exported folder: of which run it is, in which format, by which versions, and what was compared."""


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        folder: where it is.
        checked: what was compared with the tool, by the expert's name, or the run's where the folder is of the whole
            run; empty where nothing was.
        pushed: addresses of repositories on the hub.
    """

    folder: Path
    checked: Mapping[str, Mapping[str, Any]]
    pushed: Sequence[str] = ()


@dataclass(frozen=True)
class Wish:
    """What to export.

    Attributes:
        to: the format: a plug-in of `orchestrator.exports`, or an import path.
        expert: which expert; None: not said.
        every: all experts, in a folder each where the format holds one.
        common: compute beside the common expert, where there is one.
        check: texts to compare with the tool; 0: none.
        options: of the format.
        push: a repository on the hub to upload to, USER/NAME; with all experts, USER/NAME-LANG for each; None: none.
        public: a new repository can be seen by everybody.
    """

    to: str
    expert: str | None = None
    every: bool = False
    common: bool = True
    check: int = 0
    options: Mapping[str, Any] | None = None
    push: str | None = None
    public: bool = False


def export_run(root: Path, wish: Wish, out: Path) -> Exported:
    """Export a run's experts: everything, or nothing where one of them can't be.

    Args:
        root: of the run.
        wish: what of it.
        out: folder to write; an earlier export in it is replaced.

    Raises:
        PluginError: there is no such format, or no such option. ResourceError: a package is not installed.
        ModelError: the format can't hold a model, or the tool makes something else of it. UnknownModelError: there is
            no such expert.
        ResourceError: the hub can't be reached, or does not take the token.
        ArtifactError: the run is not finished or damaged, or `out` holds something else.
    """
    from orchestrator.exports import Hub, Source

    plugin: Export = plugins.create("exports", wish.to, wish.options or {})
    _check_place(out)
    plugin.need((*plugin.packages, *(plugin.checked_by if wish.check else ())))
    parts = _parts(Source.of(root.absolute(), wish.common), wish, plugin.of_one)
    hub = None if wish.push is None else Hub(wish.push, wish.public)
    if hub is not None:
        hub.check()
    checked: dict[str, Mapping[str, Any]] = {}

    def fill(folder: Path) -> None:
        for name, source in parts.items():
            place = folder / name
            place.mkdir(exist_ok=True)
            plugin.write(source, place)
            key = name or wish.expert or source.name
            if wish.check:
                checked[key] = plugin.check(source, place, wish.check)
            for left in place.rglob("__pycache__"):  # of programs in it that were run
                shutil.rmtree(left)
            write_json(place / ABOUT, _about(source, wish, plugin.packages, checked.get(key)))
        if "" not in parts:
            write_json(folder / ABOUT, {"format": wish.to, "experts": list(parts), "versions": versions()})

    place_folder(out.absolute(), fill, "export", "--out")
    pushed = [] if hub is None else [hub.push(out / name, name, _message(part)) for name, part in parts.items()]
    return Exported(out, checked, pushed)


def _parts(run: Source, wish: Wish, of_one: bool) -> dict[str, Source]:
    """Folder below the exported one -> what is in it.

    Raises:
        ModelError: it is not said which expert. UnknownModelError: there is no such expert.
    """
    if wish.expert is not None and wish.every:
        raise ModelError("one expert is named and all are asked for", "mome export", "give --expert or --all")
    if wish.expert is not None:
        return {"": run.only(wish.expert) if of_one else run.routed_to(wish.expert)}
    if not of_one:
        return {"": run}
    if wish.every:
        return {name: run.only(name) for name in run.experts}
    if len(run.experts) > 1:
        fix = f"--expert {' or '.join(run.experts)}; --all: a folder for each"
        raise ModelError("the format holds one expert, and the run has several", "mome export", fix)
    return {"": run}


def _message(source: Source) -> str:
    """Of the commit on the hub."""
    return f"{', '.join(source.experts)} of {source.name}, exported by MoME"


def _check_place(out: Path) -> None:
    """Make sure that nothing but an earlier export is replaced.

    Raises:
        ArtifactError: something else is there.
    """
    is_taken = out.is_dir() and any(out.iterdir()) and not (out / ABOUT).is_file()
    if is_taken or (out.exists() and not out.is_dir()):
        raise ArtifactError("there is something else already", str(out), "name a new or an empty folder: --out FOLDER")


def _about(source: Source, wish: Wish, packages: Sequence[str], checked: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "run": source.name,
        "experts": list(source.experts),
        "format": wish.to,
        "options": dict(wish.options or {}),
        "checked": None if checked is None else dict(checked),
        "versions": versions() | {name: version for name in packages if (version := _version(name))},
    }


def _version(module: str) -> str | None:
    try:
        return metadata.version(module)
    except metadata.PackageNotFoundError:
        return None
