"""Data sets through the package datasets, from this machine's disk: no hub is needed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.corpus.sources.files import Files
from orchestrator.corpus.sources.hub import Hub
from orchestrator.errors import CorpusError, PluginError, ResourceError
from orchestrator.plugins import create

datasets = pytest.importorskip("datasets")
ROWS = [{"id": f"r{i}", "meta": {"text": f"text {i}"}, "extra": i} for i in range(7)]


def texts(**options: Any) -> list[tuple[str, str]]:
    return [(d.id, d.text) for d in Hub(**options).documents("en")]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    rows = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": rows, "test": rows.select([1])}).save_to_disk(tmp_path / "both")
    rows.select(range(3)).save_to_disk(tmp_path / "one", num_shards=2)
    return tmp_path


def test_a_repository_of_data_files(tmp_path: Path) -> None:
    (tmp_path / "en").mkdir()
    for split, part in (("train", ROWS[:5]), ("test", ROWS[5:])):
        (tmp_path / "en" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    path = str(tmp_path / "{language}")
    assert texts(path=path, text_field="meta.text") == [(f"r{i}", f"text {i}") for i in range(5)]
    assert texts(path=path, text_field="meta.text", split="test") == [("r5", "text 5"), ("r6", "text 6")]
    with pytest.raises(ResourceError, match="can't read this folder") as error:
        texts(path=path, split="nosuch")
    assert "split" in error.value.fix
    with pytest.raises(CorpusError, match="no field 'text'") as told:
        texts(path=path)
    assert "meta.text" in told.value.fix


def test_saved_splits(saved: Path) -> None:
    options = {"path": str(saved / "both"), "text_field": "meta.text"}
    assert len(texts(**options)) == 7
    assert texts(**options, split="test") == [("r1", "text 1")]
    assert len(texts(path=str(saved / "one"), text_field="meta.text")) == 3
    source = Hub(**options)
    assert source.fingerprint("en") == source.fingerprint("en") != Hub(path=str(saved / "one")).fingerprint("en")


def test_files_read_what_was_saved_without_the_package(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    (saved / "one" / "cache-0123.arrow").write_bytes(next((saved / "one").glob("data-*.arrow")).read_bytes())
    source = Files(path=str(saved / "one"), text_field="meta.text")
    assert [(d.id, d.text) for d in source.documents("en")] == [(f"r{i}", f"text {i}") for i in range(3)]
    assert source.found("en").counts() == {"read": {".arrow": 2}, "left_out": {}}
    with pytest.raises(CorpusError, match="holds the splits test, train") as error:
        Files(path=str(saved / "both")).fingerprint("en")
    assert str(saved / "both" / "train") in error.value.fix
    assert len(list(Files(path=str(saved / "both" / "train"), text_field="meta.text").documents("en"))) == 7
    with pytest.raises(ResourceError, match="needs the package `datasets`"):
        texts(path=str(saved / "one"))


def test_the_hub_by_name_configuration_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def load_dataset(path: str, **options: Any) -> Any:
        asked.append((path, options))
        return datasets.Dataset.from_list(ROWS).to_iterable_dataset()

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    source = Hub(name="a/b", config="x_{language}", split="validation", revision="abc", text_field="meta.text")
    assert [d.text for d in source.documents("en")] == [row["meta"]["text"] for row in ROWS]
    assert asked == [("a/b", {"name": "x_en", "split": "validation", "revision": "abc", "streaming": True})]
    assert source.fingerprint("en") == "a/b/x_en/validation@abc"
    assert Hub(name="a/b").fingerprint("en") == "a/b/train@main"


def test_a_hub_that_can_not_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(path: str, **options: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(ResourceError, match="did not deliver: no route") as error:
        texts(name="a/b")
    assert "`path`" in error.value.fix


@pytest.mark.parametrize("options", [{}, {"name": "a/b", "path": "x"}])
def test_a_name_or_a_path(options: dict[str, str]) -> None:
    with pytest.raises(PluginError, match="give the name of a data set, or the path of a folder"):
        create("corpus.sources", "hub", options)


TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]


@pytest.mark.parametrize(
    "messages",
    [
        TURNS,
        [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}],
        [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, TURNS[1]],
        {"role": ["user", "assistant"], "content": ["Hi", "Hello!"]},
    ],
)
def test_conversations_in_their_usual_layouts(tmp_path: Path, messages: Any) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    (document,) = Files(path=str(tmp_path), text_field="messages", chat="plain").documents("en")
    assert document.text == "user: Hi\n\nassistant: Hello!"
    (document,) = Hub(path=str(tmp_path), text_field="messages", chat="plain").documents("en")
    assert document.text == "user: Hi\n\nassistant: Hello!"


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        (None, "field 'messages' is null"),
        ([], "no list of messages"),
        ([{"content": "x"}], "no role and content"),
        ([{"role": "user", "content": [{"type": "image"}]}], "is no text"),
        ([{"role": "user", "content": 3}], "is no text"),
        (["x"], "no role and content"),
        (7, "no list of messages but int"),
    ],
)
def test_rows_that_are_no_conversations_are_lost(tmp_path: Path, messages: Any, what: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    lost: list[CorpusError] = []
    assert not list(Files(path=str(tmp_path), text_field="messages", chat="plain").documents("en", lost.append))
    assert what in lost[0].what


@pytest.fixture
def template(tmp_path: Path) -> Path:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"x": 0}, unk_token="x")))
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
        "<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    )
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def test_conversations_by_a_tokenizers_template(tmp_path: Path, template: Path) -> None:
    rows = [{"messages": TURNS}, {"messages": [{"role": "system", "content": "x"}]}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = Files(path=str(tmp_path / "a.jsonl"), text_field="messages", chat=str(template))
    lost: list[CorpusError] = []
    assert [d.text for d in source.documents("en", lost.append)] == ["<user>Hi</><assistant>Hello!</>"]
    assert lost[0].what == "the chat template refuses these messages: no system here"
    before = source.fingerprint("en")
    (template / "chat_template.jinja").write_text("x")
    assert source.fingerprint("en") != before


def test_a_template_that_is_not_there(tmp_path: Path, template: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": TURNS}) + "\n")
    source = Files(path=str(tmp_path / "a.jsonl"), text_field="messages", chat=str(tmp_path / "none"))
    with pytest.raises(ResourceError, match="can't be loaded") as error:
        list(source.documents("en"))
    assert "chat: plain" in error.value.fix
