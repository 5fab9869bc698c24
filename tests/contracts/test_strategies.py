"""Laws of every training strategy: the losses of plain torch, and a resumed run ends bit for bit as it would have."""

from __future__ import annotations

import importlib.util
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import plugins
from orchestrator.errors import PluginError

WORKER = Path(__file__).with_name("strategy_worker.py")
RESIZED = WORKER.with_name("resized_worker.py")
FP32, BF16 = 1e-5, 2e-2
"""Relative tolerances on losses: rounding of sums in another order; rounding of bf16 products."""

needs_deepspeed = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
ZERO = [{"type": "deepspeed", "zero": stage} for stage in range(4)]


@pytest.fixture(scope="module")
def blocks(make_blocks) -> Path:
    return make_blocks("en", "fr")


@pytest.fixture(scope="module")
def train(blocks, run_workers) -> Callable[..., list[Any]]:
    """Results of each strategy, trained by `workers` processes."""

    def train(out: Path, *strategies: dict[str, Any], workers: int = 1, precision: str = "fp32") -> list[Any]:
        here = all(strategy["type"] == "single" for strategy in strategies)
        return run_workers(WORKER, out, workers, [str(blocks), precision, *map(json.dumps, strategies)], here=here)

    return train


@pytest.fixture(scope="module")
def reference(train, tmp_path_factory) -> Any:
    """Plain torch in fp32."""
    return train(tmp_path_factory.mktemp("reference"), {"type": "single"})[0]


def assert_same(found: dict[str, Any], reference: dict[str, Any], tolerance: float) -> None:
    for series in ("loss", "validation_loss"):
        np.testing.assert_allclose(found[series], reference[series], rtol=tolerance)
    for series in ("soft", "grad_norm"):  # small numbers, of larger relative error
        np.testing.assert_allclose(found[series], reference[series], rtol=20 * tolerance)
    np.testing.assert_allclose(found["handed_over"], reference["validation_loss"][-1], rtol=tolerance)
    assert found["resumed"] == found["digest"]


@pytest.mark.parametrize("name", plugins.available("training.strategies"))
def test_is_a_plugin_that_pickles(name):
    strategy = plugins.create("training.strategies", name, {})
    assert pickle.loads(pickle.dumps(strategy)) == strategy
    assert callable(strategy.setup)


def test_an_unknown_zero_stage_is_refused():
    with pytest.raises(PluginError, match="zero"):
        plugins.create("training.strategies", "deepspeed", {"zero": 4})


def test_single_resumes_bit_for_bit(reference):
    assert reference["resumed"] == reference["digest"]
    assert reference["loss"][-1] < reference["loss"][0]
    assert max(reference["grad_norm"]) > 0.1, "clipping was not at work"


@needs_deepspeed
@pytest.mark.timeout(600)
@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stages", [[2], pytest.param([0, 1, 3], marks=pytest.mark.slow)])
def test_deepspeed_equals_single(train, reference, compiled, tmp_path, stages, workers):
    for found in train(tmp_path, *(ZERO[stage] for stage in stages), workers=workers):
        assert_same(found, reference, FP32)


@needs_deepspeed
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_bf16_is_the_same_to_its_rounding(train, reference, compiled, tmp_path):
    for found in train(tmp_path, {"type": "single"}, *ZERO, precision="bf16"):
        assert_same(found, reference, BF16)


@needs_deepspeed
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_four_workers_then_two_then_four_end_as_four_do(blocks, run_workers, compiled, tmp_path, stage):
    def losses(name: str, *attempts: tuple[int, int]) -> dict[int, float]:
        for workers, stop in attempts:
            arguments = [str(blocks), str(tmp_path / name), json.dumps(ZERO[stage]), str(stop)]
            rows = run_workers(RESIZED, tmp_path / f"{name}-{stop}", workers, arguments)
        return {row["step"]: row["validation_loss"] for row in rows if "validation_loss" in row}

    fixed, resized = losses("fixed", (4, 0)), losses("resized", (4, 3), (2, 5), (4, 0))
    assert resized.keys() == fixed.keys()
    furthest = max(abs(resized[step] / fixed[step] - 1) for step in fixed)
    print(f"ZeRO {stage}: losses {fixed} at 4, {resized} at 4, 2, 4; relative difference at most {furthest:.1e}")
    assert furthest < FP32
