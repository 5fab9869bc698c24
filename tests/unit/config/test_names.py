"""Names of languages, as they are written: tags have capitals."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator.config.corpus import CorpusConfig
from orchestrator.config.names import RESERVED, Language

SOURCE = {"source": "miniwiki"}


@pytest.mark.parametrize("name", ["en", "pt-BR", "zh-Hans-CN", "EN", "english", "sr_Latn", "x1"])
def test_tags_and_words_are_names(name: str) -> None:
    assert TypeAdapter(Language).validate_python(name) == name


@pytest.mark.parametrize("name", ["", "1en", "-en", "e n", "en/../fr", "é", "a" * 17, *RESERVED, "Teacher", "AUTO"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Language).validate_python(name)


def test_names_that_some_file_systems_take_for_one_are_refused() -> None:
    assert list(CorpusConfig(languages={"pt-BR": SOURCE, "pt": SOURCE}).languages) == ["pt-BR", "pt"]
    with pytest.raises(ValidationError, match="'pt-BR' and 'pt-br' differ in capital letters alone"):
        CorpusConfig(languages={"pt-BR": SOURCE, "pt-br": SOURCE})
