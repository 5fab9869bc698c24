"""The serving bench at a tiny size."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks._serve import Ours, Shape, Transformers
from benchmarks._serve_peers import peers
from benchmarks.serve import Serve
from orchestrator.errors import ResourceError

TINY = Shape(layers=1, width=16, heads=2, vocab=60, prompt=5, answer=6)


def test_rows_have_equal_answers_and_speeds() -> None:
    rows = list(Serve(paper=TINY, quickstart=None, threads=(1,), batches=(1, 2), repeats=1).rows())
    equal = [row for row in rows if row.metric == "answers"]
    assert [(row.ours, row.baseline) for row in equal] == [(1, 1), (2, 2)]
    speeds = {row.case: row for row in rows if row.metric == "speed"}
    assert "3 × 768, 1 thread, batch 2: int8, sampled beside int8" in speeds
    assert all(row.ratio > 0 for row in speeds.values())


def test_every_peer_answers_the_same_with_the_same_weights(tmp_path: Path) -> None:
    model, prompts = TINY.model(), TINY.prompts(3)
    expected = Transformers(model, TINY)(prompts)
    assert all(len(answer) == TINY.answer for answer in expected)
    ours = Ours(model, TINY, "fp32")
    assert ours(prompts) == expected
    ours.engine.close()
    with peers(model, TINY, tmp_path, 1) as others:
        exact = {name: each for name, each in others.items() if "8" not in name}
        assert "transformers generate_batch" in exact
        for name, peer in exact.items():
            assert peer(prompts) == expected, name


def test_a_folder_without_the_older_engine_is_refused(tmp_path: Path) -> None:
    bench = Serve(paper=TINY, quickstart=None, threads=(1,), batches=(1,), repeats=1, beside=str(tmp_path))
    with pytest.raises(ResourceError, match="no such engine"):
        list(bench.rows())


def test_an_environment_that_is_not_there_is_refused(tmp_path: Path) -> None:
    bench = Serve(paper=TINY, quickstart=None, threads=(1,), batches=(1,), repeats=1, vllm=str(tmp_path / "python"))
    with pytest.raises(ResourceError, match="vLLM does not start"):
        list(bench.rows())
