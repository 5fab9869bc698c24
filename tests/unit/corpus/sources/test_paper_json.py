from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.corpus.reading import json_values
from orchestrator.corpus.sources.paper_json import PaperJson
from orchestrator.errors import CorpusError


def test_articles_of_one_language(tmp_path: Path) -> None:
    entries = [
        {
            "en": {"wikidata_id": "Q1", "text": "\n_START_ARTICLE_\nTea\n_START_PARAGRAPH_\nGreen.", "version_id": "1"},
            "fr": "Thé",
        },
        {"fr": {"id": "x", "title": "T", "text": "Deux", "licence": "MIT"}},
        {"py": "print()"},
    ]
    (tmp_path / "train.json").write_text(json.dumps(entries, indent=4))
    source = PaperJson(path=str(tmp_path / "train.json"), licence="CC0-1.0")
    assert [(d.id, d.title, d.text) for d in source.documents("en")] == [("Q1", "Tea", "Tea\n\nGreen.")]
    assert [(d.id, d.text, d.licence) for d in source.documents("fr")] == [
        ("train:0", "Thé", "CC0-1.0"),
        ("x", "Deux", "MIT"),
    ]


@pytest.mark.parametrize("read", [1, 7, 64, 1 << 20])
def test_entries_longer_than_the_buffer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: int) -> None:
    monkeypatch.setattr(json_values, "_READ", read)
    texts = [f'é"[{{,]}}\\ {i}' * i for i in range(20)]
    (tmp_path / "a.json").write_text(json.dumps([{"en": text} for text in texts]) + "\n")
    assert [d.text for d in PaperJson(path=str(tmp_path)).documents("en")] == texts


@pytest.mark.parametrize("content", ['[{"en": "x"}, {"en"', '[{"en": "x"}', "[3]", '[{"en": 3}]', "", '[{"fr": "x"}]'])
def test_other_json(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(CorpusError) as error:
        list(PaperJson(path=str(tmp_path)).documents("en"))
    assert str(tmp_path) in error.value.where


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'[{"en": "\xe9"}]')
    with pytest.raises(CorpusError, match="not UTF-8"):
        list(PaperJson(path=str(tmp_path)).documents("en"))


@pytest.mark.usefixtures("unreadable")
def test_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").touch()
    with pytest.raises(CorpusError, match="Permission denied"):
        list(PaperJson(path=str(tmp_path)).documents("en"))


def test_articles_without_text_and_works(tmp_path: Path) -> None:
    entries = [{"en": None}, {"en": {"text": None}}, {"en": 3}, {"en": {"id": "n#1", "work": "n", "text": "One"}}]
    (tmp_path / "a.json").write_text(json.dumps(entries))
    lost: list[CorpusError] = []
    found = list(PaperJson(path=str(tmp_path)).documents("en", lost.append))
    assert [(d.id, d.work, d.text) for d in found] == [("n#1", "n", "One")]
    assert len(lost) == 3
    assert all("a.json, entry" in error.where for error in lost)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"[" * 3000, "nested too deep"), ("[]".encode("utf-16"), "UTF-16"), (b"\x1f\x8b\x08", "gzip")],
)
def test_other_files(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CorpusError, match=said):
        list(PaperJson(path=str(tmp_path)).documents("en"))
