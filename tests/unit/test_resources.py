"""Shares of CPUs and GPUs: whatever is asked for fits into what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.config.loading import load_recipe
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.errors import ResourceError
from orchestrator.resources import Allocation, allocate, allocate_here, choose_device, expected_here, for_step
from tests.unit.deploy.described import shapes


def allocation(cpus: float, gpus: float, /, **resources: Any) -> Allocation:
    return allocate(ResourcesConfig(**resources), cpus, gpus)


@pytest.mark.parametrize(
    ("cpus", "gpus", "resources", "expected"),
    [
        (2, 0, {"slots": 4}, (4, 0.5, 0, 1, "cpu", "single")),
        (2, 0, {}, (2, 1, 0, 1, "cpu", "single")),
        (16, 0, {"slots": 2, "cpus": 8}, (2, 4, 0, 4, "cpu", "single")),
        (16, 0, {"workers": 2, "slots": 1, "threads": 3}, (1, 8, 0, 3, "cpu", "deepspeed")),
        (16, 1, {}, (1, 16, 1, 16, "cuda", "deepspeed")),
        (16, 1, {"slots": 4, "strategy": "single"}, (4, 4, 0.25, 4, "cuda", "single")),
        (32, 4, {"workers": 2}, (2, 8, 1, 8, "cuda", "deepspeed")),
        (32, 4, {"workers": 2, "slots": 8}, (2, 8, 1, 8, "cuda", "deepspeed")),
        (32, 4, {"workers": 4, "strategy": "expert_parallel"}, (1, 8, 1, 8, "cuda", "expert_parallel")),
        (8, 8, {"device": "cpu", "slots": 3}, (3, 2, 0, 2, "cpu", "single")),
    ],
)
def test_shares(cpus: float, gpus: float, resources: dict[str, Any], expected: tuple[Any, ...]) -> None:
    a = allocation(cpus, gpus, **resources)
    shown = (a.slots, a.cpus_per_worker, a.gpus_per_worker, a.threads, a.device, a.strategy.type)
    assert shown == expected


@pytest.mark.parametrize(("gpus", "resources"), [(0, {"device": "cuda"}), (1, {"device": "cuda", "workers": 2})])
def test_gpus_that_are_not_there_are_refused(gpus: float, resources: dict[str, Any]) -> None:
    with pytest.raises(ResourceError, match=f"the cluster has {gpus} GPUs"):
        allocation(8, gpus, **resources)


@settings(deadline=None, max_examples=100)
@given(
    cpus=st.integers(1, 128),
    gpus=st.integers(0, 16),
    workers=st.integers(1, 4),
    slots=st.none() | st.integers(1, 32),
)
def test_all_slots_together_fit(cpus: int, gpus: int, workers: int, slots: int | None) -> None:
    device = "auto" if gpus >= workers else "cpu"
    a = allocation(cpus, gpus, workers=workers, slots=slots, device=device)
    trainings = a.slots * a.workers
    assert trainings * a.cpus_per_worker <= cpus + 1e-6
    assert a.cpus_per_worker < 1 or a.cpus_per_worker == int(a.cpus_per_worker)  # as Ray wants it
    assert trainings * a.gpus_per_worker <= gpus + 1e-6
    assert a.threads >= 1


@pytest.mark.parametrize(
    ("nodes", "resources", "expected"),
    [
        ([(16, 0)], {"slots": 1}, (16, 16)),
        ([(8, 0), (8, 0)], {"slots": 1}, (8, 8)),  # the machine of 16 CPUs that it would want is not there
        ([(8, 0), (8, 0)], {"slots": 3}, (4, 4)),  # of 5 CPUs each, two would fit
        ([(8, 0), (2, 0)], {"slots": 2}, (4, 4)),
        ([(0, 0), (8, 0), (8, 0)], {"workers": 2, "slots": 1}, (8, 8)),
        ([(16, 0), (8, 1), (8, 1)], {"workers": 2}, (8, 8)),  # workers on GPUs have the CPUs beside them
        ([(1, 0), (1, 0)], {"slots": 4}, (0.5, 1)),
    ],
)
def test_a_worker_wants_no_more_than_a_node_has(
    nodes: list[tuple[float, float]], resources: dict[str, Any], expected: tuple[float, int]
) -> None:
    cpus, gpus = (sum(node[kind] for node in nodes) for kind in (0, 1))
    found = allocate(ResourcesConfig(**resources), cpus, gpus, nodes)
    assert (found.cpus_per_worker, found.threads) == expected


@pytest.mark.parametrize(
    ("gpus", "least", "expected"), [(8, 2, 6), (6, None, 6), (5, 2, 3), (3, 1, 3), (2, 2, 2), (2, 1, 2), (1, 1, 1)]
)
def test_where_nodes_are_missing_a_training_has_fewer_workers(gpus: int, least: int | None, expected: int) -> None:
    """A divisor of the number asked for trains the same batches."""
    found = allocate(ResourcesConfig(workers=6, min_workers=least), 48, gpus)
    assert (found.workers, found.slots, found.gpus_per_worker) == (expected, max(1, gpus // expected), 1.0)


def test_fewer_than_the_least_are_refused() -> None:
    with pytest.raises(ResourceError, match="6 training workers"):
        allocate(ResourcesConfig(workers=6, min_workers=3), 48, 2)
    with pytest.raises(ValidationError, match=r"resources\.min_workers is 3 and resources\.workers 2"):
        ResourcesConfig(workers=2, min_workers=3)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(ResourceError, match="GPU"):
        choose_device("cuda")


def test_a_process_of_its_own_gives_a_step_all_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    here = allocate_here(ResourcesConfig(cpus=3, slots=2))
    assert (here.slots, here.threads, here.device, here.strategy.type) == (1, 3, "cpu", "single")
    assert allocate_here(ResourcesConfig(cpus=3, threads=2)).threads == 2
    with pytest.raises(ResourceError, match="2 training workers need Ray"):
        allocate_here(ResourcesConfig(workers=2))


def test_a_step_alone_has_every_slots_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    each, alone = expected_here(ResourcesConfig(slots=4, device="cuda"), local=False)
    assert (each.threads, alone.threads, each.device) == (2, 8, "cpu")  # the plan of a recipe for GPUs, on a laptop
    each, alone = expected_here(ResourcesConfig(slots=4), local=True)
    assert each == alone


def test_a_strategy_for_parts_is_for_models_of_parts() -> None:
    resources = ResourcesConfig(strategy="expert_parallel")
    assert for_step(resources, alone=False, by_parts=True) is resources
    assert for_step(resources, alone=False, by_parts=False).strategy == "auto"


RECIPES = Path(__file__).parents[2] / "jobs" / "recipes"
SHAPES = {
    "two nodes": [(2, 0), (2, 0)],
    "a head and three nodes": [(0, 0), (2, 0), (2, 0), (1, 0)],
    **{f"{name} at its least": [head, worker] for name, (head, worker, _) in shapes().items()},
    **{f"{name} at its most": [head, *most * [worker]] for name, (head, worker, most) in shapes().items()},
    "many CPUs where few GPUs are": [(4, 3), (64, 1)],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(
    "recipe", [file.stem for file in sorted(RECIPES.glob("*.yaml")) if "base:" not in file.read_text()]
)
def test_every_training_of_a_shipped_recipe_finds_a_place_on_a_node(recipe: str, alone: bool, shape: str) -> None:
    resources = for_step(load_recipe(RECIPES / f"{recipe}.yaml").resources, alone=alone, by_parts=True)
    nodes = SHAPES[shape]
    if resources.device == "cuda" and not any(gpus for _, gpus in nodes):
        pytest.skip("a recipe for GPUs")
    a = allocate(resources, sum(cpus for cpus, _ in nodes), sum(gpus for _, gpus in nodes), nodes)
    free = [list(node) for node in nodes]
    for _ in range(a.workers):  # of one training: others wait
        node = next(n for n in free if n[0] >= a.cpus_per_worker and n[1] >= a.gpus_per_worker)
        node[0] -= a.cpus_per_worker
        node[1] -= a.gpus_per_worker
