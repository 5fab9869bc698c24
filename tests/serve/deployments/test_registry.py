from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.errors import ServingError
from serve.deployments.registry import Registry, Served, Table


def table(version: str, *names: str) -> Table:
    experts = {name: Served(Path("/runs") / name, f"mome-expert-{name}-{version}") for name in names}
    return Table(version, Path("/tokenizer"), Path("/router"), experts)


ONE, TWO = table("1", "en", "fr", "common"), table("2", "de", "en")


def test_an_expert_comes_and_goes_and_the_version_says_so() -> None:
    more = ONE.with_expert("es", Served(Path("/es"), "mome-expert-es"))
    assert (more.version, list(more.experts)) == ("1+", ["en", "es", "fr", "common"])
    again = more.with_expert("es", Served(Path("/better"), "mome-expert-es-2"))
    assert again.experts["es"].folder == Path("/better")
    assert (again.without("es").version, list(again.without("es").experts)) == ("1+", ["en", "fr", "common"])
    assert list(ONE.experts) == ["en", "fr", "common"]


def test_the_last_expert_and_an_unknown_one_stay() -> None:
    with pytest.raises(ServingError, match="no expert 'es' is served"):
        ONE.without("es")
    with pytest.raises(ServingError, match="the only expert"):
        ONE.without("fr").without("en")


def test_a_canary_gets_its_share_and_goes_back_at_once() -> None:
    registry = Registry("a", 1, ONE).using(TWO, 25)
    draws = [index / 1000 for index in range(1000)]
    assert sum(registry.choose(draw) is TWO for draw in draws) == 250
    assert registry.applications == ONE.applications | TWO.applications
    back, on = registry.using(ONE), registry.using(TWO)
    assert (back.number, list(back.tables), list(on.tables)) == (3, [ONE], [TWO])
    assert all(back.choose(draw) is ONE for draw in draws)


def test_it_is_kept_as_plain_data() -> None:
    registry = Registry("a", 4, ONE).using(TWO, 12.5)
    assert Registry.from_json(json.loads(json.dumps(registry.to_json()))) == registry
    assert Registry.from_json(json.loads(json.dumps(Registry("a", 1, ONE).to_json()))) == Registry("a", 1, ONE)
