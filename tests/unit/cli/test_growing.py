"""What `mome expert` takes for a source, and what it refuses of runs that aren't there."""

from __future__ import annotations

import pytest

from orchestrator.cli.growing import text_of
from orchestrator.errors import RecipeError


@pytest.mark.parametrize(
    ("source", "spec"),
    [
        ("files:data/es", {"type": "files", "path": "data/es"}),
        ("files:s3:/data", {"type": "files", "path": "s3:/data"}),
        ("wiki40b", {"type": "wiki40b"}),
        ("{type: files, path: data/es, text_field: body}", {"type": "files", "path": "data/es", "text_field": "body"}),
    ],
)
def test_sources(source, spec):
    assert text_of(source, "prose") == {"source": spec, "kind": "prose"}


def test_a_source_that_is_no_mapping():
    with pytest.raises(RecipeError, match="not YAML"):
        text_of("{type: files", "prose")


@pytest.mark.parametrize(
    "command",
    [
        ["expert", "add", "third", "--language", "es", "--source", "miniwiki"],
        ["expert", "remove", "third", "es"],
        ["expert", "replace", "third", "es", "seed=2"],
        ["mixture", "list", "third"],
        ["mixture", "show", "third"],
        ["mixture", "use", "third", "1"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_unknown_run_is_answered_with_the_known_ones(mome, runs, command):
    ended = mome(*command, "--runs", runs)
    assert ended.code == 2
    assert "there is no run 'third'" in ended.err
    assert "first, second" in ended.err


def test_a_folder_without_a_recipe_has_no_mixture_to_grow(mome, runs):
    ended = mome("expert", "remove", "first", "es", "--runs", runs)
    assert ended.code == 2
    assert "no run of a recipe" in ended.err
    assert "mome run RECIPE" in ended.err
