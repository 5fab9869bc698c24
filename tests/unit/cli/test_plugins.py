"""`mome plugins`: what can be named in a recipe."""

from __future__ import annotations

import pytest

from orchestrator import plugins


def test_it_lists_every_room_with_its_place_in_a_recipe(mome) -> None:
    ended = mome("plugins")
    assert ended.code == 0
    for room in plugins.ROOMS:
        assert any(line.startswith(f"{room} ") for line in ended.out.splitlines())
    assert "experts.distillation.soft" in ended.out
    assert "corpus.languages.NAME.source" in ended.out


@pytest.mark.parametrize("room", [room for room in plugins.ROOMS if room != "benchmarks"])
def test_it_lists_a_room_with_a_sentence_each(mome, room: str) -> None:
    lines = mome("plugins", room).out.splitlines()
    for name in plugins.available(room):
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        assert line.removeprefix(name).strip()
    assert any("package.module:Class" in line for line in lines)


@pytest.mark.parametrize("name", ["jsd", "orchestrator.losses.jsd:JSD"])
def test_it_tells_the_options_of_a_plugin(mome, name: str) -> None:
    out = mome("plugins", "losses", name).out
    assert "beta: a number above 0 and below 1 (default 0.5)" in out
    assert "The teacher's share of the mixture m." in out
    assert "temperature: a number above 0 (default 1.0)" in out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("lossses",), 'did you mean "losses"?'),
        (("losses", "jds"), 'did you mean "jsd"?'),
        (("losses", "nobody.has:This"), "there is no module 'nobody'"),
    ],
)
def test_what_does_not_exist_is_refused_with_the_nearest(mome, command: tuple[str, ...], said: str) -> None:
    ended = mome("plugins", *command)
    assert ended.code == 2
    assert said in ended.err
