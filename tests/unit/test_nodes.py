"""Nodes in words, and workers that find a place on them."""

from __future__ import annotations

import pytest

from orchestrator.config.recipe import ResourcesConfig
from orchestrator.errors import ResourceError
from orchestrator.nodes import Cluster, Node
from orchestrator.resources import expected_on, expected_shares

TWO = Cluster((Node(48, 4), Node(48, 4)), "a file")


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ((Node(48, 4), Node(48, 4)), "2 nodes: 2 x (48 CPUs, 4 GPUs)"),
        ((Node(1),), "1 node: 1 x (1 CPU)"),
        ((Node(8, 1), Node(2), Node(8, 1)), "3 nodes: 2 x (8 CPUs, 1 GPU), 1 x (2 CPUs)"),
        ((), "no nodes"),
    ],
)
def test_nodes_in_words(nodes: tuple[Node, ...], said: str) -> None:
    assert str(Cluster(nodes, "")) == said


def test_places_and_nodes_that_are_filled() -> None:
    assert Node(48, 4).places(12, 1) == 4
    assert Node(48, 4).places(20, 0) == 2
    assert Node(48, 4).places(0, 0.25) == 16
    assert Node(4, 0).places(1, 1) == 0
    assert TWO.places(12, 1) == 8
    assert [len(TWO.filled(workers, 12, 1)) for workers in (1, 4, 5, 8)] == [1, 1, 2, 2]
    assert Cluster((Node(1), Node(8)), "").filled(1, 4, 0) == (Node(8),)


def test_shares_are_of_the_cluster_and_without_one_of_this_machine() -> None:
    each, alone = expected_shares(ResourcesConfig(workers=2), False, TWO)
    assert (each.slots, each.workers, each.cpus_per_worker, each.device) == (4, 2, 12, "cuda")
    assert alone.slots == 1
    assert alone.cpus_per_worker <= 48
    assert expected_shares(ResourcesConfig(device="cpu", cpus=1), False, None)[0].cpus_per_worker == 1


@pytest.mark.parametrize(
    ("resources", "nodes", "what", "fix"),
    [
        ({"workers": 9}, TWO.nodes, "9 training workers on GPUs .* 8 GPUs", "resources.workers=8"),
        ({"device": "cuda"}, (Node(8),), "has 0 GPUs", "resources.device=cpu"),
        ({"threads": 64}, TWO.nodes, "64 threads .* 48 CPUs", "resources.threads=48"),
        ({"workers": 2}, (Node(0, 2), Node(8, 0)), "0 find a place", "resources.workers=1, or larger nodes"),
        ({}, (), "no node .* has CPUs", "--local"),
    ],
)
def test_what_can_never_fit_is_refused(
    resources: dict[str, object], nodes: tuple[Node, ...], what: str, fix: str
) -> None:
    with pytest.raises(ResourceError, match=what) as refused:
        expected_on(ResourcesConfig(**resources), Cluster(nodes, "a file"))  # type: ignore[arg-type]
    assert "a file" in refused.value.where
    assert fix in refused.value.fix
