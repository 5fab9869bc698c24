"""Laws of the text that ships for the router: what is tested with is not learned, a change is noticed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.data.tags import FOLDER as TAGS
from orchestrator.routers.text import shipped
from orchestrator.routers.text.shipped import SPACES, learned, sections
from orchestrator.routers.text.tags import CODE, NATURAL, names

DIGEST = "19985bd602c38fb7c0d0d97cebc8e5c0ae07d903bd2b38219f1a0ebddfa1fd38"
"""Of all text that ships, and of the names of languages, as routers of RouterStage.version are made of it."""
FILES = [(space, path) for space, folder in SPACES.items() for path in sorted(folder.glob("*.txt"))]


def bare(text: str) -> str:
    """A text without what a copy of it might differ in: case, marks at its ends, and white space."""
    return re.sub(r"\s+", " ", text.casefold()).strip(" .!?,;:…\"'«»“”„¿¡。！？")


def test_nothing_that_rejection_is_tested_with_is_learned() -> None:
    taught = {bare(text) for texts in learned().values() for text in texts}
    both = {kind: [text for text in texts if bare(text) in taught] for kind, texts in shipped.tested().items()}
    assert {kind: texts for kind, texts in both.items() if texts} == {}


def test_a_change_of_the_text_changes_what_routers_are_made_of() -> None:
    said = f"the text that ships has changed: raise RouterStage.version, and set DIGEST to {shipped.digest()!r}"
    assert shipped.digest() == DIGEST, said


@pytest.mark.parametrize(("space", "path"), FILES, ids=[f"{path.parent.name}/{path.name}" for _, path in FILES])
def test_a_file_is_named_by_a_tag_and_says_what_it_holds(space: str, path: Path) -> None:
    content = path.read_text(encoding="utf-8")
    tag = path.stem
    assert names(space)[tag][0] == tag or tag in names(space)[tag], f"data/tags has no line that begins with {tag}"
    head = f"tag: {tag}\norigin: written for this project\nlicence: CC0-1.0\n\n=== "
    assert content.startswith(head)
    assert "\r" not in content
    own = [section for section in sections() if section.kind == f"{space}/{tag}"]
    assert len(own) == len({(section.use, section.register) for section in own}) == content.count("\n=== ")
    for section in own:
        assert sum(len(text.splitlines()) for text in section.texts) >= 5


@pytest.mark.parametrize("space", [NATURAL, CODE])
def test_a_tag_is_a_name_of_itself_first(space: str) -> None:
    """`fa` is Persian whatever else is called so: a code that is taken names nothing else alone."""
    lines = (TAGS / f"{SPACES[space].name}.txt").read_text(encoding="utf-8").splitlines()
    tags = [line.split()[0] for line in lines if not line.startswith("#")]
    assert len(set(tags)) == len(tags)
    assert [tag for tag in tags if tag not in names(space)[tag]] == []
