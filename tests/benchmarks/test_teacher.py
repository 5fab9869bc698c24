"""The bench of a teacher's cache at a tiny size."""

from __future__ import annotations

from benchmarks.teacher import Teacher


def test_speed_beside_the_plain_pass_and_errors_beside_their_goals() -> None:
    rows = list(Teacher(vocab=60, context=8, layers=1, width=16, heads=2, blocks=4, repeats=1).rows())
    in_memory, on_disk, *errors = rows
    assert min(in_memory.ratio, on_disk.ratio) > 0
    assert "disk" in on_disk.case
    assert [row.baseline for row in errors] == [1e-3, 1e-3, 1e-5]
    assert errors[0].ours < 0.01
    assert errors[1].ours < 0.001
    assert errors[2].ours < 1e-5
