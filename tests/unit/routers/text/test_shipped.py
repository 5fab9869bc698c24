from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import CorpusError
from orchestrator.routers.text import shipped
from orchestrator.routers.text.shipped import LEARNED, TESTED
from orchestrator.routers.text.tags import CODE, NATURAL


def test_what_ships_is_counted_by_use_register_and_namespace() -> None:
    found = shipped.about()
    for use, texts in ((LEARNED, shipped.learned()), (TESTED, shipped.tested())):
        assert found["texts"][use] == sum(map(len, texts.values())) == sum(found["registers"][use].values())
        assert found["tags"][use]["natural"] + found["tags"][use]["code"] == len(texts)
    assert {"conversation", "broad vocabulary", "snippets"} <= set(found["registers"][LEARNED])
    assert (found["licences"], found["origins"]) == (["CC0-1.0"], ["written for this project"])


def test_sections_of_a_tag_are_read_in_their_order() -> None:
    german = [section for section in shipped.sections() if section.kind == f"{NATURAL}/de"]
    assert [section.use for section in german] == [LEARNED] * len(german), "German is not among the tests"
    assert shipped.learned()["phrases/de"] == tuple(text for section in german for text in section.texts)
    assert "Hallo, wie geht es dir heute?" in shipped.learned()["phrases/de"]


def test_each_language_is_told_what_it_learns_and_warned_where_nothing_ships() -> None:
    own = {"german": ["phrases/de"], "medical": ["phrases/medical"], "pt-br": ["phrases/pt"], "pt-pt": ["phrases/pt"]}
    german, medical, *portuguese = shipped.messages(own)
    assert german.startswith("german: learns ")
    assert german.endswith(" texts that ship of the tag de")
    assert medical.startswith("warning: no shipped text for 'medical': ")
    assert portuguese[0] == "pt-br, pt-pt share the tag pt: none of its text is learned or rejected"


def test_text_that_is_not_installed_is_an_error_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped.check()
    monkeypatch.setattr(shipped, "SPACES", {NATURAL: tmp_path / "natural", CODE: tmp_path / "code"})
    assert not shipped.installed()
    with pytest.raises(CorpusError, match="is not installed") as caught:
        shipped.check()
    assert "pip install ./orchestrator/data/router" in caught.value.fix
