"""`mome bench`: options of a bench are typed as a recipe's fields are."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["overhead", "step=3"], 'did you mean "steps"?'),
        (["overhead", "steps=1"], "option 'steps' of 'overhead': Input should be greater than or equal to 2"),
        (["overhead", "steps"], "an override is KEY=VALUE, not 'steps'"),
        (["overhead", "against=/"], "there is no checkout of MoME"),
        (["overheads"], "overhead"),
    ],
    ids=["unknown", "too small", "no value", "no checkout", "no bench"],
)
def test_what_can_not_be_measured_is_said(mome, typed: list[str], said: str) -> None:
    ended = mome("bench", *typed)
    assert ended.code == 2
    assert said in ended.out + ended.err
