"""The bench of plans: what it tells beside what a tiny run takes, knowing nothing of the machine and then something."""

from __future__ import annotations

import pytest

from benchmarks.plan import Plan
from orchestrator.errors import ResourceError

TINY = (
    *("corpus.max_documents=20", "corpus.languages={en: {source: miniwiki}, fr: {source: miniwiki}}"),
    *("tokenizer.vocab_size=512", "evaluation.max_blocks=4", "evaluation.bootstrap=100", "tracking.type=none"),
    *("teacher.training.tokens=8192", "experts.training.tokens=4096", "router.sequences_per_language=20"),
    "router.type={type: prompt, pieces: 200, bits: 12, calibration_pieces: 50}",
)


@pytest.mark.slow
def test_a_plan_before_and_after_a_run() -> None:
    rows = list(Plan(overrides=TINY, repeats=1, local=True).rows())
    first, then = rows
    assert first.case == "smoke, nothing recorded: told beside taken"
    assert then.case == "smoke, 1 run recorded: told beside taken"
    assert all(1 < row.baseline < 120 and 0.1 < row.ratio < 10 for row in rows)
    assert then.ours != first.ours, "the second plan knows the first run"


def test_a_command_that_fails_is_told() -> None:
    with pytest.raises(ResourceError, match=r"failed with code 1[\s\S]*nothing-like-it"):
        list(Plan(recipe="nothing-like-it").rows())
