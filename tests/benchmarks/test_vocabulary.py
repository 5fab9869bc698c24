"""The bench of cut vocabularies at tiny sizes: its rows, and that they mean what they say."""

from __future__ import annotations

from benchmarks.vocabulary import Vocabulary
from orchestrator.plugins import create

TINY = {"vocab": 3000, "kept": 300, "context": 16, "layers": 1, "width": 16, "heads": 2, "teacher": 24, "repeats": 2}


def test_rows_hold_speed_size_and_error() -> None:
    found = {row.metric: row for row in create("benchmarks", "vocabulary", TINY).rows()}
    assert list(found)[:2] == ["training speed", "parameters"]
    assert found["parameters"].baseline - found["parameters"].ours == (3000 - 300) * 16
    assert found["size in fp32"].ours == 4e-6 * found["parameters"].ours
    error = found["error of the rest's share, beside its share"]
    assert error.ours < 1e-5 < error.baseline < 1


def test_the_default_sizes_are_those_of_the_claim() -> None:
    bench = Vocabulary()
    assert (bench.vocab, bench.layers, bench.width) == (150_000, 3, 256)
