"""Experts for ONNX Runtime: one graph with keys and values, MoE-CE too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.api.exporting import Wish, export_run
from orchestrator.exports import Source
from orchestrator.exports._flat import Flat

CASES = [("gpt2", False), ("gpt2", True), ("mistral", False), ("phi", False), ("gemma3", False)]


def exported(run: Path, out: Path, check: int = 0) -> Any:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    return export_run(run, Wish("onnx", "es", check=check), out)


@pytest.mark.parametrize(("model", "common"), CASES)
def test_onnx_runtime_continues_alike(world: Any, tmp_path: Path, model: str, common: bool) -> None:
    pytest.importorskip("onnxruntime")
    run = world.run(f"onnx-{model}-{common}", model, common=common, rows=8)
    found = exported(run, tmp_path / "out", check=120).checked["es"]
    assert (found["prompts"], found["ties"]) == (6, 0)


def test_rows_of_a_padded_batch_are_those_alone(run: Path, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(exported(run, tmp_path / "out").folder / "model.onnx")
    shapes = {each.name: each.shape for each in session.get_inputs()[3:]}

    def logits(rows: list[list[int]]) -> Any:
        longest = max(map(len, rows))
        mask = np.array([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        feeds = {
            "input_ids": np.array([[0] * (longest - len(row)) + row for row in rows]),
            "attention_mask": mask,
            "position_ids": (mask.cumsum(1) - 1).clip(0),
        }
        none = {name: np.zeros((len(rows), shape[1], 0, shape[3]), np.float32) for name, shape in shapes.items()}
        return session.run(None, feeds | none)[0]

    both = logits([[1, 5, 9], [1, 7, 30, 41, 52, 60]])
    np.testing.assert_allclose(both[0, -3:], logits([[1, 5, 9]])[0], atol=1e-4)
    np.testing.assert_allclose(both[1], logits([[1, 7, 30, 41, 52, 60]])[0], atol=1e-4)


@pytest.mark.parametrize(("model", "common"), [*CASES, ("sliding", False)])
@torch.inference_mode()
def test_the_wrapper_computes_what_is_served(world: Any, model: str, common: bool) -> None:
    """With keys and values of a first part, as without."""
    from orchestrator.exports._combined import open_expert

    expert = Source.of(world.run(f"flat-{model}-{common}", model, common=common)).expert("es")
    flat, served = Flat.of(expert), open_expert(expert.folder)
    ids = torch.randint(3, 290, (2, 20), generator=torch.Generator().manual_seed(1))
    places, ones = torch.arange(20).expand(2, 20), torch.ones(2, 20, dtype=torch.int64)
    none = [torch.zeros(2, heads, 0, width) for heads, width in flat.layers for _ in range(2)]
    _, *past = flat(ids[:, :13], ones[:, :13], places[:, :13], none)
    later = flat(ids[:, 13:], ones, places[:, 13:], past)[0]
    expected = served(
        input_ids=ids, position_ids=places, attention_mask=ones, past_key_values=None, use_cache=True, logits_to_keep=7
    )
    torch.testing.assert_close(later, expected.logits, atol=1e-4, rtol=1e-4)
