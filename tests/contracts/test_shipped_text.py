"""Laws of the text that ships for the router: what is tested with is not learned, a change is noticed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.routers.text import shipped
from orchestrator.routers.text.shipped import FOLDER, learned, unlearned
from orchestrator.routers.text.tags import CODE, PHRASES, names

DIGEST = "33a5af918b7762545cc9780521a318dba7af490da60cee9cedf873d94ddd5c50"
"""Of all text that ships, and of the names of languages, as routers of RouterStage.version are made of it."""
PATHS = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.txt"))


def bare(text: str) -> str:
    """A text without what a copy of it might differ in: case, marks at its ends, and white space."""
    return re.sub(r"\s+", " ", text.casefold()).strip(" .!?,;:…\"'«»“”„¿¡。！？")


def test_nothing_that_rejection_is_tested_with_is_learned() -> None:
    taught = {bare(text) for texts in learned().values() for text in texts}
    both = {kind: [text for text in texts if bare(text) in taught] for kind, texts in unlearned().items()}
    assert {kind: texts for kind, texts in both.items() if texts} == {}


def test_a_change_of_the_text_changes_what_routers_are_made_of() -> None:
    said = f"the text that ships has changed: raise RouterStage.version, and set DIGEST to {shipped.digest()!r}"
    assert shipped.digest() == DIGEST, said


@pytest.mark.parametrize("path", [path for path in PATHS if not path.startswith("names/")])
def test_a_file_is_named_by_a_tag_and_holds_text(path: str) -> None:
    folder, _, name = path.rpartition("/")
    space = Path(folder).name
    tag = re.split(r"[.-]", name)[0]
    assert names(space)[tag][0] == tag or tag in names(space)[tag], f"names/ has no line that begins with {tag}"
    texts = [text for text in (FOLDER / path).read_text(encoding="utf-8").split("\n") if text.strip()]
    assert len(texts) >= 5
    assert "\r" not in "".join(texts)


@pytest.mark.parametrize("space", [PHRASES, CODE])
def test_a_tag_is_a_name_of_itself_first(space: str) -> None:
    """`fa` is Persian whatever else is called so: a code that is taken names nothing else alone."""
    lines = (
        (FOLDER / "names" / {PHRASES: "languages.txt", CODE: "code.txt"}[space])
        .read_text(encoding="utf-8")
        .splitlines()
    )
    tags = [line.split()[0] for line in lines if not line.startswith("#")]
    assert len(set(tags)) == len(tags)
    assert [tag for tag in tags if tag not in names(space)[tag]] == []
