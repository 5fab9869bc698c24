"""`mome init` writes recipes that load, naming one's own files; `mome --version`."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest

from orchestrator import __version__
from orchestrator.config.loading import load_recipe


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "es").mkdir()
    (tmp_path / "es" / "a.txt").write_text("Una casa. " * 50)
    rows = [json.dumps({"content": "Una casa italiana", "n": 1}) + "\n"] * 9
    (tmp_path / "it.jsonl.gz").write_bytes(gzip.compress("".join(rows).encode()))
    (tmp_path / "chat.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "Hola"}]}) + "\n")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.js").write_text("let x = 1;\n" * 40)
    return tmp_path


def test_a_recipe_from_options(mome, data: Path) -> None:
    ended = mome("init", "my recipe.yaml", "-l", "es=es", "-l", "it=it.jsonl.gz", "--code", "py", "--code", "js=src")
    assert ended.code == 0, ended.err
    assert "mome run 'my recipe.yaml' --plan" in ended.out
    recipe = load_recipe(data / "my recipe.yaml")
    assert recipe.name == "my-recipe"
    languages = recipe.corpus.languages
    assert {name: found.kind for name, found in languages.items()} == {
        "es": "prose", "it": "prose", "py": "code", "js": "code",
    }  # fmt: skip
    assert languages["es"].source.options == {"path": "es"}
    assert languages["it"].source.options == {"path": "it.jsonl.gz", "text_field": "content"}
    assert languages["js"].source.options == {"path": "src", "suffixes": [".js"]}
    assert languages["py"].source.type == "python_env"
    assert recipe.blocks.context == 128
    assert not recipe.corpus.filters


def test_a_pretrained_teacher_a_gpu_chat_and_a_filter(mome, data: Path) -> None:
    options = ("--teacher", "models/small", "--device", "gpu", "--filter")
    assert mome("init", "-l", "es=chat.jsonl", *options).code == 0
    recipe = load_recipe(data / "mome.yaml")
    assert (recipe.teacher.model.type, recipe.teacher.train) == ("pretrained", False)
    assert recipe.experts.vocabulary is not None
    assert recipe.experts.vocabulary.keep == 0.999
    assert recipe.corpus.languages["es"].source.options == {
        "path": "chat.jsonl", "text_field": "messages", "chat": "plain",
    }  # fmt: skip
    assert [spec.type for spec in recipe.corpus.filters] == ["language"]
    assert recipe.blocks.context == 1024
    for training in (recipe.experts.training, recipe.teacher.training):
        assert training.batch_tokens % (training.micro_batch * 8) == 0


def test_rows_as_people_have_them(mome, data: Path) -> None:
    """A text inside of another field, a null in the first row, another encoding, a field that one has to name."""
    rows = [{"id": 1, "body": None}, {"id": 2, "body": {"text": "Uma casa"}}, {"id": 3, "body": {"text": "Uma rua"}}]
    (data / "pt.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (data / "fr.txt").write_bytes("Où est la gare ?".encode("windows-1252"))
    (data / "odd.jsonl").write_text('{"words": "x"}\n')
    options = ("-l", "fr={path: fr.txt, encoding: windows-1252}", "-l", "en={path: odd.jsonl, text_field: words}")
    ended = mome("init", "-l", "pt=pt.jsonl", *options)
    assert ended.code == 0, ended.err
    languages = load_recipe(data / "mome.yaml").corpus.languages
    assert languages["pt"].source.options == {"path": "pt.jsonl", "text_field": "body.text"}
    assert languages["fr"].source.options == {"path": "fr.txt", "encoding": "windows-1252"}
    assert languages["en"].source.options == {"path": "odd.jsonl", "text_field": "words"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-l", "es"), "write es=PATH"),
        (("-l", "es=nowhere"), "there is no such file or folder"),
        (("-l", "es={path: es, encodin: utf-8}"), "encoding"),
        (("-l", "es={encoding: utf-8}"), "path"),
        (("-l", "fr=fr.txt"), "say what it is in"),
        (("-l", "en=odd.jsonl"), "there is no field 'text'"),
        (("-l", "1es=es"), "languages"),
        (("-l", "es=es", "-l", "es=it.jsonl.gz"), "is there twice"),
        (("-l", "es=empty.jsonl"), "there is no document of es"),
        (("-l", "es=blank.txt"), "there is no document of es"),
        (("-l", "es=names.csv"), "there is no document of es"),
        ((), "nobody is here to be asked"),
    ],
)
def test_what_can_not_be_written(mome, data: Path, options: tuple[str, ...], said: str) -> None:
    (data / "odd.jsonl").write_text('{"words": "x"}\n')
    (data / "empty.jsonl").touch()
    (data / "blank.txt").write_text("\n \n")
    (data / "names.csv").write_text("text,id\n")
    (data / "fr.txt").write_bytes("Où est la gare ?".encode("windows-1252"))
    ended = mome("init", "new.yaml", *options)
    assert ended.code == 2
    assert said in ended.err
    assert ".new.yaml.tmp" not in ended.err  # a file that is not there any more
    assert not list(data.glob("*new.yaml*"))


@pytest.mark.parametrize(("place", "said"), [("es", "this is a folder"), ("none/new.yaml", "there is no such folder")])
def test_where_nothing_can_be_written(mome, data: Path, place: str, said: str) -> None:
    ended = mome("init", place, "-l", "es=es", "--force")
    assert ended.code == 2
    assert said in ended.err
    assert not list(data.glob("**/.*.tmp"))


def test_a_first_row_that_names_no_columns_is_told_in_short(mome, data: Path) -> None:
    (data / "bare.csv").write_text("".join(f'"{"Una casa. " * 40}",{i}\n' for i in range(9)))
    ended = mome("init", "new.yaml", "-l", "es=bare.csv")
    assert ended.code == 2
    assert "there is no field 'text'" in ended.err
    assert len(ended.err) < 500


def test_nothing_is_written_over(mome, data: Path) -> None:
    (data / "mome.yaml").write_text("mine")
    ended = mome("init", "-l", "es=es")
    assert ended.code == 2
    assert "--force" in ended.err
    assert (data / "mome.yaml").read_text() == "mine"
    assert mome("init", "-l", "es=es", "--force").code == 0


def test_questions(mome, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["es, it", "es", "it.jsonl.gz", "cpu"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers))
    monkeypatch.setattr("typer.confirm", lambda *_, **__: True)
    assert mome("init").code == 0
    assert list(load_recipe(data / "mome.yaml").corpus.languages) == ["es", "it", "py"]


def test_version(mome) -> None:
    ended = mome("--version")
    assert (ended.code, ended.out) == (0, f"mome {__version__}\n")
