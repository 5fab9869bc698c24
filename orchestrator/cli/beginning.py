"""`mome init` and `mome --version`."""

from __future__ import annotations

import re
import shutil
import sys
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


def init(
    recipe: Annotated[Path, typer.Argument(help="File to write.")] = Path("mome.yaml"),
    language: Annotated[
        list[str] | None, typer.Option("--language", "-l", help="A language and its files: es=data/es.")
    ] = None,
    code: Annotated[list[str] | None, typer.Option(help="Code and its files: js=src; py alone: this Python's.")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="A pretrained teacher: a folder, or a name on the hub. Left out: one is trained.")
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "gpu"] | None, typer.Option(help="What it will train on: sizes are chosen for it.")
    ] = None,
    filtered: Annotated[bool, typer.Option("--filter", help="Drop documents in another language.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a recipe for your own files, from options or a few questions.

    Examples:

        mome init

        mome init mine.yaml -l es=data/es -l it=data/it.csv --code py

        mome init mine.yaml -l sw=corpus/sw.jsonl.zst --teacher models/smollm2 --device gpu --filter
    """
    from orchestrator.config.loading import load_recipe
    from orchestrator.errors import RecipeError

    if recipe.exists() and not force:
        raise RecipeError("there is a file of this name", str(recipe), "name another one, or add --force")
    if not language and not code:
        language, code, device = _asked(device)
    from orchestrator.cli.writing import recipe_text

    texts = [
        *(_text(each, is_code=False) for each in language or ()),
        *(_text(each, is_code=True) for each in code or ()),
    ]
    chosen = _device(device)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", recipe.stem).strip("-._") or "mine"
    written = recipe.with_name(f".{recipe.name}.tmp")
    written.write_text(recipe_text(name[:64], texts, chosen, teacher, filtered=filtered), encoding="utf-8")
    try:
        load_recipe(written)
        written.replace(recipe)
    finally:
        written.unlink(missing_ok=True)
    for text in texts:
        print(f"{text.name}: {text.path or 'the Python of this environment'}, about {text.characters:,} characters")
    print(f"{recipe} is written, in sizes for a {chosen.upper()}. Next: mome run {recipe} --plan")


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
    from orchestrator.errors import RecipeError

    name, equals, path = given.partition("=")
    if is_code and name == "py" and not path:
        return Text(name, "", True, "", False, 5_000_000)
    if not equals or not name or not path:
        raise RecipeError(f"this names no files: {given!r}", "mome init", f"write {name or 'es'}=PATH")
    return _looked_at(name, path, is_code)


def _looked_at(name: str, path: str, is_code: bool) -> Text:
    """What there is under a path, by its first document.

    Raises:
        CorpusError: nothing that can be read, or rows without a field that is the text.
    """
    from orchestrator.cli.writing import Text
    from orchestrator.corpus.reading.compression import compression_of
    from orchestrator.corpus.sources.files import Files
    from orchestrator.errors import CorpusError

    options: dict[str, Any] = {"path": path}
    if is_code and Path(path).is_dir() and any(Path(path).rglob(f"*.{name}")):
        options["suffixes"] = (f".{name}",)
    files = Files(**options).found(name).files
    characters = sum(file.stat().st_size * (_PACKED if compression_of(file) else 1) for file in files)
    first: CorpusError | None = None
    for field in _FIELDS:
        chat = field in _CHAT
        try:
            next(Files(**options, text_field=field, chat="plain" if chat else None).documents(name), None)
        except CorpusError as error:
            first = first or error
            if not error.what.startswith(("there is no field", "field ")):
                raise
        else:
            return Text(name, path, is_code, field, chat, characters, "".join(options.get("suffixes", ())))
    assert first is not None
    raise first
