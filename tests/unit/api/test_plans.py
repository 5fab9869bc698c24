"""What a plan says of the machine's other work."""

from __future__ import annotations

import pytest

from orchestrator.api.plans import RunPlan, StepPlan
from orchestrator.stages.base import Cost


@pytest.mark.parametrize(("taken", "says"), [(0.1, "this machine"), (1.46, "whose other work takes 1.5 cores now")])
def test_other_work_is_told_where_it_is_much(taken: float, says: str) -> None:
    step = StepPlan("teacher", False, Cost(), 60.0, 0.0)
    plan = RunPlan("r", (step,), 70.0, "a guess", 0, 0, "cpu", 2, "", "", taken)
    assert plan.outlook[0].startswith("expected in all: about 70 s, 2 trainings at a time on the cpu of this machine")
    assert plan.outlook[0].endswith(says)
