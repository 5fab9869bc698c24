"""Laws of training by parts: what a step does not select is bit-identical after it, whatever the strategy.

A mixture of four experts, a common expert and shared layers is trained on steps of one language (``by_language``), so
that three experts rest with their momentum and decay, and on steps of some languages (``mixed``).
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

WORKER = Path(__file__).with_name("parts_worker.py")
LOSSES, WEIGHTS = 1e-5, 1e-4
"""Tolerances against one process: on losses relative; on weights absolute, a hundredth of the learning rate."""
SINGLE, EXPERT_PARALLEL = {"type": "single"}, {"type": "expert_parallel"}
ZERO = [{"type": "deepspeed", "zero": stage} for stage in range(4)]
MUON = {"type": "muon", "lr": 0.01, "weight_decay": 0.1, "eps": 1e-4}

needs_deepspeed = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def four(make_blocks) -> Path:
    """Blocks of four languages."""
    return make_blocks("en", "fr", "de", "py")


@pytest.fixture(scope="module")
def train(run_workers) -> Callable[..., list[dict[str, Any]]]:
    """Results of each case, trained by `workers` processes; see parts_worker.Case."""

    def train(blocks: Path, out: Path, *cases: dict[str, Any], workers: int = 1) -> list[dict[str, Any]]:
        here = all(case.get("strategy") == SINGLE for case in cases)
        found = run_workers(WORKER, out, workers, [str(blocks), *map(json.dumps, cases)], here=here)
        return [
            {**each, "weights": load_file(out / f"weights-{number}.safetensors")} for number, each in enumerate(found)
        ]

    return train


@pytest.fixture(scope="module")
def reference(train, four, tmp_path_factory) -> dict[str, Any]:
    """One process, by sampling."""
    samplings = ("by_language", "mixed")
    cases = [{"strategy": SINGLE, "sampling": sampling} for sampling in samplings]
    return dict(zip(samplings, train(four, tmp_path_factory.mktemp("reference"), *cases), strict=True))


def law(strategy: dict[str, Any], **others: Any) -> dict[str, Any]:
    """A case that is watched, interrupted and resumed."""
    return {"strategy": strategy, "watched": True, "resumed": True, **others}


def assert_still(found: dict[str, Any]) -> None:
    """Parts that a step did not select didn't move, those it selected did; and resumed, it ends the same."""
    assert found["moved"] == []
    assert found["unmoved"] == []
    assert found["held_still"] > 0
    assert found["resumed"] == found["digest"]


def assert_same(found: dict[str, Any], reference: dict[str, Any]) -> None:
    assert found["tokens"] == reference["tokens"]
    for series in ("loss", "validation_loss"):
        assert found[series] == pytest.approx(reference[series], rel=LOSSES)
    assert found["grad_norm"] == pytest.approx(reference["grad_norm"], rel=20 * LOSSES)
    assert found["weights"].keys() == reference["weights"].keys()
    for name, value in reference["weights"].items():
        torch.testing.assert_close(found["weights"][name], value, rtol=0, atol=WEIGHTS, msg=name)


def test_single(train, four, reference, tmp_path):
    adamw, muon, frozen = train(
        four, tmp_path, law(SINGLE), law(SINGLE, optimizer=MUON), law(SINGLE, sampling="mixed", frozen="shared")
    )
    for found in (adamw, muon, frozen):
        assert_still(found)
    assert_same(adamw, reference["by_language"])
    assert muon["loss"][-1] < muon["loss"][0]


@needs_deepspeed
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("stages", "workers"), [pytest.param(s, w, marks=slow) for s, w in [([0, 1, 2, 3], 1), ([0, 1, 3], 2)]]
)
def test_zero(train, four, reference, compiled, tmp_path, stages, workers):
    cases = [law(ZERO[stage], sampling=sampling) for stage in stages for sampling in ("by_language", "mixed")]
    for case, found in zip(cases, train(four, tmp_path, *cases, workers=workers), strict=True):
        assert_still(found)
        assert_same(found, reference[case["sampling"]])


@needs_deepspeed
@slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", [{"frozen": "shared"}, {"resting": "common"}])
def test_parts_that_experts_have_in_common_may_rest_too(train, four, compiled, tmp_path, case):
    """Frozen, they need no gradients; otherwise the gradient that they get does not count."""
    single, *others = train(four, tmp_path, *(law(s, **case) for s in (SINGLE, EXPERT_PARALLEL, ZERO[1], ZERO[3])))
    for found in (single, *others):
        assert_still(found)
        assert_same(found, single)


@needs_deepspeed
@slow
def test_muon_without_zero(train, four, compiled, tmp_path):
    single, found = train(four, tmp_path, *(law(s, optimizer=MUON) for s in (SINGLE, ZERO[0])))
    assert_still(found)
    assert_same(found, single)


@needs_deepspeed
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("strategies", "workers"),
    [
        pytest.param([ZERO[2], EXPERT_PARALLEL], 2, marks=pytest.mark.long),
        pytest.param([EXPERT_PARALLEL], 4, marks=slow),
    ],
)
def test_several_workers(train, four, reference, compiled, tmp_path, strategies, workers):
    cases = [law(strategy, sampling=sampling) for strategy in strategies for sampling in ("by_language", "mixed")]
    for case, found in zip(cases, train(four, tmp_path, *cases, workers=workers), strict=True):
        assert_still(found)
        assert_same(found, reference[case["sampling"]])


@slow
def test_workers_that_share_an_expert(train, make_blocks, tmp_path):
    blocks = make_blocks("en", "fr")
    cases = [
        {"sampling": sampling, "frozen": frozen} for sampling, frozen in [("by_language", ""), ("mixed", "shared")]
    ]
    singles = train(blocks, tmp_path / "single", *({"strategy": SINGLE, **case} for case in cases))
    several = train(blocks, tmp_path / "several", *(law(EXPERT_PARALLEL, **case) for case in cases), workers=4)
    for single, found in zip(singles, several, strict=True):
        assert_still(found)
        assert_same(found, single)


@slow
def test_muon_with_experts_in_parallel(train, four, tmp_path):
    [single] = train(four, tmp_path / "single", {"strategy": SINGLE, "optimizer": MUON})
    [found] = train(four, tmp_path / "two", law(EXPERT_PARALLEL, optimizer=MUON), workers=2)
    assert_still(found)
    assert_same(found, single)


@needs_deepspeed
@slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("begun", "finished"), [(ZERO[3], EXPERT_PARALLEL), (EXPERT_PARALLEL, ZERO[1]), (ZERO[0], ZERO[3])]
)
def test_a_strategy_finishes_what_another_began(train, four, reference, compiled, tmp_path, begun, finished):
    """When it does, two experts have never been trained."""
    case = {"strategy": finished, "begun": begun, "resumed": True}
    [found] = train(four, tmp_path, case, workers=2)
    assert found["resumed_loss"] == pytest.approx(reference["by_language"]["validation_loss"][-1], rel=LOSSES)
