"""`mome init` and `mome --version`."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from orchestrator.cli.writing import Text

_FIELDS = ("text", "content", "body", "document", "article", "sentence", "code", "messages", "conversations")
"""Fields of rows that usually hold the text, the likeliest first."""
_CHAT = ("messages", "conversations")
_PACKED = 4  # times as much comes out of a compressed file, about


def _print_version(asked: bool) -> None:
    if asked:
        from orchestrator import __version__

        print(f"mome {__version__}")
        raise typer.Exit


def version(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """What every command takes."""


_LANGUAGE = typer.Option(
    "--language", "-l", help="A language and its files: es=data/es, or options of the source `files`."
)
_CODE = typer.Option(help="Code and its files: js=src; py alone: this Python's.")
_TEACHER = typer.Option(help="A pretrained teacher: a folder, or a name on the hub. Left out: one is trained.")
_DEVICE = typer.Option(help="What it will train on: sizes are chosen for it.")


def init(
    recipe: Annotated[Path, typer.Argument(help="File to write.")] = Path("mome.yaml"),
    language: Annotated[list[str] | None, _LANGUAGE] = None,
    code: Annotated[list[str] | None, _CODE] = None,
    teacher: Annotated[str | None, _TEACHER] = None,
    device: Annotated[Literal["auto", "cpu", "gpu"] | None, _DEVICE] = None,
    filtered: Annotated[bool, typer.Option("--filter", help="Drop documents in another language.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a recipe for your own files, from options or a few questions.

    Examples:

        mome init

        mome init mine.yaml -l es=data/es -l it=data/it.csv --code py

        mome init mine.yaml -l sw=corpus/sw.jsonl.zst --teacher models/smollm2 --device gpu --filter

        mome init mine.yaml -l 'fr={path: data/fr, encoding: windows-1252, document: line}' -l de=data/de.parquet
    """
    from orchestrator.config.loading import load_recipe
    from orchestrator.errors import RecipeError

    if recipe.is_dir() or not recipe.parent.is_dir():
        what = "this is a folder" if recipe.is_dir() else "there is no such folder to write the recipe in"
        raise RecipeError(what, str(recipe), "name a file in a folder that is there: mome init mine.yaml")
    if recipe.exists() and not force:
        raise RecipeError("there is a file of this name", str(recipe), "name another one, or add --force")
    if not language and not code:
        language, code, device = _asked(device)
    from orchestrator.cli.writing import recipe_text

    texts = [_text(each, is_code=kind) for kind, some in ((False, language), (True, code)) for each in some or ()]
    chosen = _device(device)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", recipe.stem).strip("-._") or "mine"
    written = recipe.with_name(f".{recipe.name}.tmp")
    written.write_text(recipe_text(name[:64], texts, chosen, teacher, filtered=filtered), encoding="utf-8")
    try:
        load_recipe(written)
        written.replace(recipe)
    except RecipeError as error:  # of a file that is not there any more
        what = error.what.removeprefix(f"{written}:").lstrip("0123456789: ")
        raise RecipeError(what, "mome init", error.fix) from None
    finally:
        written.unlink(missing_ok=True)
    for text in texts:
        what = text.source.get("path", "the Python of this environment")
        print(f"{text.name}: {what}, about {text.characters:,} characters")
    print(f"{recipe} is written, in sizes for a {chosen.upper()}. Next: mome run {shlex.quote(str(recipe))} --plan")


def _asked(device: Literal["auto", "cpu", "gpu"] | None) -> tuple[list[str], list[str], Literal["auto", "cpu", "gpu"]]:
    from orchestrator.errors import RecipeError

    if not sys.stdin.isatty():
        fix = "for example: mome init mine.yaml -l es=data/es -l it=data/it"
        raise RecipeError("nobody is here to be asked: name the languages and their files", "mome init", fix)
    names = typer.prompt("Languages, by their tags (es it zh)").replace(",", " ").split()
    texts = [f"{name}={typer.prompt(f'Where is the text of {name} (a file, a folder or a glob)')}" for name in names]
    code = ["py"] if typer.confirm("Python code of this environment as one more?", default=False) else []
    if device is None:
        device = "gpu" if typer.prompt("Train on a cpu or a gpu", default=_device("auto")) == "gpu" else "cpu"
    return texts, code, device


def _device(device: str | None) -> Literal["cpu", "gpu"]:
    if device in ("cpu", "gpu"):
        return "gpu" if device == "gpu" else "cpu"
    return "gpu" if shutil.which("nvidia-smi") else "cpu"


def _text(given: str, *, is_code: bool) -> Text:
    from orchestrator.cli.writing import Text
    from orchestrator.config.loading import apply_override
    from orchestrator.errors import RecipeError

    name, equals, value = given.partition("=")
    if is_code and name == "py" and not value:
        return Text(name, {}, True, 5_000_000)
    if not equals or not name or not value:
        raise RecipeError(f"this names no files: {given!r}", "mome init", f"write {name or 'es'}=PATH")
    options = apply_override({}, f"files={value}")["files"] if value.startswith("{") else {"path": value}
    return _looked_at(name, options, is_code)


def _looked_at(name: str, given: Mapping[str, Any], is_code: bool) -> Text:
    """What there is, by its first document.

    Args:
        name: of the language.
        given: options of the source `files`.
        is_code: whether it is code.

    Raises:
        CorpusError: nothing that can be read, or rows without a field that is the text. PluginError: no such option.
    """
    from orchestrator import plugins
    from orchestrator.cli.writing import Text
    from orchestrator.corpus.reading.compression import compression_of
    from orchestrator.corpus.sources.files import Files
    from orchestrator.corpus.unreadable import Unreadable
    from orchestrator.errors import CorpusError

    options = dict(given)
    place = Path(str(options.get("path", "")))
    if is_code and "suffixes" not in options and place.is_dir() and any(place.rglob(f"*.{name}")):
        options["suffixes"] = [f".{name}"]
    source: Files = plugins.create("corpus.sources", "files", options)
    files = source.found(name).files
    if "text_field" not in options and (field := _text_field(source.fields(name))) not in ("", "text"):
        options["text_field"] = field
        if field.rpartition(".")[2] in _CHAT:
            options.setdefault("chat", "plain")
        source = plugins.create("corpus.sources", "files", options)
    unreadable = Unreadable(0.9)  # the run counts rows without a text, up to a limit of its own
    if not any(each.text.strip() for each in unreadable.counted(source.documents(name, unreadable))):
        fix = "name files that hold text, and the field that it is in (text_field) where they have several"
        raise CorpusError(f"there is no document of {name} in these files", options["path"], fix)
    characters = sum(file.stat().st_size * (_PACKED if compression_of(file) else 1) for file in files)
    return Text(name, options, is_code, characters)


def _text_field(fields: Sequence[str]) -> str:
    """Which of the fields usually holds the text, those inside of others last; "" where none does."""
    holders = {field.partition(".")[0] for field in fields if "." in field}  # named alone where they are null
    for usual in _FIELDS:
        if usual in fields and usual not in holders:
            return usual
    return next((field for usual in _FIELDS for field in fields if field.rpartition(".")[2] == usual), "")
