"""Filters drop what is not of the language, and what is no prose; counts and samples say what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.config.identity import identity
from orchestrator.config.recipe import CorpusConfig, Recipe
from orchestrator.corpus.build import build_corpus, source_fingerprints
from orchestrator.corpus.filters.c4 import C4
from orchestrator.corpus.filters.gopher import Gopher
from orchestrator.corpus.filters.gopher_repetition import GopherRepetition
from orchestrator.corpus.filters.language import Language
from orchestrator.corpus.inspect import summary
from orchestrator.corpus.judging import Verdict
from orchestrator.corpus.sources.miniwiki import Miniwiki
from orchestrator.errors import CorpusError
from orchestrator.routers.text.languages import Identifier
from orchestrator.routers.text.shipped import learned
from orchestrator.routers.text.shipped import tested as held_out


def articles(language: str, count: int = 30) -> list[str]:
    return [document.text for document in Miniwiki().documents(language)][:count]


def shipped(tag: str) -> tuple[str, ...]:
    return learned().get(f"phrases/{tag}", ()) + held_out().get(f"phrases/{tag}", ())


def joined(tag: str, characters: int = 300) -> str:
    """A text of sentences that ship."""
    sentences = shipped(tag)
    text = ""
    for sentence in sentences * 9:
        if len(text) > characters:
            break
        text += sentence + " "
    return text


def test_the_language_of_documents() -> None:
    texts = articles("de", 3) + articles("en", 3) + ["kurz", "12345 67890 " * 9, "print(sum(range(3)))"]
    assert [v.rule for v in Language().judge(texts, "de")] == ["", "", "", "in en", "in en", "in en", "", "", ""]
    assert [v.rule for v in Language().judge(texts[:6], "german-law")] == ["", "", "", "in en", "in en", "in en"]


@pytest.mark.parametrize(("language", "other"), [("pl", "en"), ("zh", "en"), ("ja", "zh"), ("ar", "fr"), ("hi", "en")])
def test_other_languages(language: str, other: str) -> None:
    own, away = joined(language), joined(other)
    assert [v.rule for v in Language().judge([own, away], language)] == ["", f"in {other}"]


def test_languages_by_text_that_was_not_learned() -> None:
    """Of 40 characters and more: 98.5 % right at least, and nothing of a language's own is dropped."""
    known = Identifier.of(learned())
    texts, own = [], []
    for kind, sentences in held_out().items():
        if (tag := kind.partition("/")[2]) in known.tags and kind.startswith("phrases/"):
            pairs = [" ".join(sentences[start : start + 2]) for start in range(0, len(sentences) - 1, 2)]
            texts += [text for text in pairs if len(text) >= 40]
            own += [tag] * (len(texts) - len(own))
    scores = known.scores(texts)
    found = np.array(known.tags)[scores.argmax(axis=1)]
    mine = np.where(np.array(known.tags) == np.array(own)[:, None], scores, -np.inf).max(axis=1)
    assert len(set(own)) >= 20
    assert (found == own).mean() > 0.985
    assert (scores.max(axis=1) - mine < Language().margin).all()
    assert known.tags.count("sr") == 2  # its two scripts are two tables


def test_a_page_of_two_languages_stays() -> None:
    half = "\n\n".join((articles("de", 1)[0][:800], articles("en", 1)[0][:800]))
    assert [Language().judge([half], language)[0].rule for language in ("de", "en")] == ["", ""]


def test_a_language_without_text() -> None:
    with pytest.raises(CorpusError, match="no text of 'klingon'") as error:
        Language().check("klingon")
    assert error.value.where == "corpus.filters, corpus.languages.klingon"


GOOD = "The house by the river is old, and that of the baker has been there as long as people have known. " * 5
ZH = "这座城市的图书馆很大，里面有很多书。我们每天都去那里看书，也和朋友们说话。河边的房子是老人的。" * 5


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (GOOD, ""),
        ("The house is of the baker.", "too few words"),
        (GOOD * 1200, "too many words"),
        ("a b of the is to in at on by " * 10, "short words"),
        ("internationalisation of characterisations and " * 20, "long words"),
        (GOOD.replace(" ", "... ", 40), "symbols"),
        ("The house and of the 12345 67890 1234 5678 " * 10, "few letters"),
        ("\n".join("- The house by the river and of the baker" for _ in range(10)), "bullets"),
        ("\n".join("The house by the river and of the baker…" for _ in range(10)), "cut lines"),
        ("house river baker people known mountain market school " * 10, "no stop words"),
    ],
)
def test_rules_of_gopher(text: str, rule: str) -> None:
    options = {"max_symbols": 1.0} if rule == "cut lines" else {}
    assert Gopher(**options).judge([text], "en")[0].rule == rule


def test_gopher_without_spaces_and_settings_of_a_language() -> None:
    assert Gopher().judge([ZH, ZH[:60], "1234567890" * 60], "zh") == [
        Verdict(ZH), Verdict(ZH[:60], "too few words"), Verdict("1234567890" * 60, "too few words"),
    ]  # fmt: skip
    assert Gopher(min_words=10).judge([ZH[:60]], "zh")[0].rule == ""
    assert Gopher().judge(["xyz " * 100], "aa")[0].rule == ""  # no text of Afar ships: it has no stop words


def test_good_text_of_every_language_passes() -> None:
    """Thirty sentences of each language that ships, in every script: rules made for English drop none of them."""
    tags = sorted(kind.partition("/")[2] for kind in {*learned(), *held_out()} if kind.startswith("phrases/"))
    dropped = {}
    for tag in tags:
        text = " ".join([sentence for sentence in shipped(tag) if len(sentence) > 15][:30])
        for made in (Gopher(min_words=20), GopherRepetition()):
            if rule := made.judge([text], tag)[0].rule:
                dropped[tag] = rule
    assert len(tags) > 100
    assert not dropped


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (GOOD[:99], ""),
        ("\n".join(["The house by the river."] * 4 + [GOOD[:99]]), "repeated lines"),
        ("\n\n".join(["The house by the river.\nIt is old."] * 3), "repeated lines"),
        ("word again " * 50, "one run of 2 words"),
        (" ".join(f"word{i % 100}" for i in range(200)), "repeated runs of 5 words"),
        ("的" + "".join(chr(0x4E00 + i % 100) for i in range(200)), "repeated runs of 5 words"),
        ("的" * 9, "one run of 2 words"),
        ("", ""),
        ("one", ""),
    ],
)
def test_rules_of_repetition(text: str, rule: str) -> None:
    assert GopherRepetition().judge([text], "zh" if "的" in text else "en")[0].rule == rule


def test_rules_of_c4() -> None:
    five = "One is here. Two is here. Three is here! Four is here? “Five is here.”"
    assert C4().judge([five], "en") == [Verdict(five)]
    noisy = f"Home\n{five}\nPlease enable JavaScript to read this.\nand a line that is cut\n\n\nOk then."
    found = C4().judge([noisy], "en")[0]
    assert found.text == five
    assert found.edits == {"short line": 2, "policy": 1, "no mark at the end": 1}
    rules = [v.rule for v in C4().judge(["Lorem Ipsum dolor.", "a { b }", "a\nb", "Only one here. Two of them."], "en")]
    assert rules == ["placeholder", "braces", "no line left", "few sentences"]
    assert C4().judge(["这里有一只猫。那里有一只狗。" * 4], "zh")[0].rule == ""
    thai = joined("th")
    assert C4().judge([thai], "th")[0].rule == ""


def corpus(folder: Path, **more: Any) -> CorpusConfig:
    texts = {"de": articles("de", 40) + articles("en", 7) + ["Haus Fluss Berg Wald " * 20], "en": articles("en", 40)}
    for language, some in texts.items():
        rows = [json.dumps({"id": f"{language}{i}", "text": text}) + "\n" for i, text in enumerate(some)]
        (folder / f"{language}.jsonl").write_text("".join(rows))
    source = {"type": "files", "path": str(folder / "{language}.jsonl")}
    languages = {"de": {"source": source}, "en": {"source": source}}
    return CorpusConfig.model_validate({"languages": languages, **more})


def test_what_is_dropped_is_counted_and_sampled(tmp_path: Path) -> None:
    config = corpus(tmp_path, filters=["language", {"type": "gopher", "languages": ["de"]}])
    messages: list[str] = []
    (tmp_path / "out").mkdir()
    log = lambda row: messages.append(row.get("message", ""))  # noqa: E731
    build_corpus(config, 1, tmp_path / "out", tmp_path / "work", map, log)
    about = summary(tmp_path / "out")["de"]
    assert {key: about.removed[key] for key in ("filtered", "language", "gopher")} == {
        "filtered": 0, "language": 7, "gopher": 1,
    }  # fmt: skip
    assert about.filters["language"]["rules"] == {"in en": 7}
    assert len(about.filters["language"]["samples"]) == 5
    assert {each["rule"] for each in about.filters["language"]["samples"]} == {"in en"}
    assert about.filters["gopher"]["samples"][0]["id"] == "de47"
    assert "filtered out 8 (language: in en 7, gopher: no stop words 1)" in "".join(messages)
    english = summary(tmp_path / "out")["en"]
    assert english.removed["language"] == 0
    assert "gopher" not in english.removed
    assert sum(split.documents for split in about.splits.values()) == 40


def test_given_splits_are_filtered_too(tmp_path: Path) -> None:
    config = corpus(tmp_path, filters=["language"])
    de = config.languages["de"].source.model_dump()
    parts = {"de": {"source": de, "validation": de, "test": {**de, "text_field": "text"}}}
    (tmp_path / "out").mkdir()
    given = CorpusConfig.model_validate({"languages": parts, "filters": ["language"], "deduplication": {"near": None}})
    with pytest.raises(CorpusError):  # training repeats what is held out: nothing is left of it
        build_corpus(given, 1, tmp_path / "out", tmp_path / "work", map, lambda row: None)


def test_filters_are_part_of_the_identity_and_leave_old_recipes_alone(tmp_path: Path) -> None:
    plain, with_filters = corpus(tmp_path), corpus(tmp_path, filters=["language", "gopher"])
    assert "filters" not in identity(plain)
    assert identity(with_filters)["filters"] == [{"type": "language"}, {"type": "gopher"}]
    assert set(source_fingerprints(plain)) == {"de.source", "en.source"}
    assert set(source_fingerprints(with_filters)) > {"de.language.0", "en.language.0", "de.gopher.1"}


def test_everything_dropped_says_by_what(tmp_path: Path) -> None:
    config = corpus(tmp_path, filters=[{"type": "gopher", "min_words": 10**5}])
    (tmp_path / "out").mkdir()
    with pytest.raises(CorpusError, match=r"none of 48 documents passes corpus.filters \(gopher, too few words: 48\)"):
        build_corpus(config, 1, tmp_path / "out", tmp_path / "work", map, lambda row: None)


def test_a_filter_for_a_language_that_is_not_there(tmp_path: Path) -> None:
    model = {"model": "gpt2-nano"}
    given = corpus(tmp_path, filters=[{"type": "gopher", "languages": ["pl"]}]).model_dump(mode="json")
    with pytest.raises(ValueError, match=r"gopher is for 'pl', no language of prose"):
        Recipe.model_validate({"name": "x", "corpus": given, "teacher": model, "experts": model})
