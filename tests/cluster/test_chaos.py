"""Storms of kills: nothing that was finished is lost or made again, and weights are those of an undisturbed run."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos import SCENARIOS, storm

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(3000)]
KILLS = 16
"""Of each scenario: 208 in all."""


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_storm_loses_nothing(scenario: str, tmp_path: Path) -> None:
    found = storm(SCENARIOS[scenario], KILLS, seed=list(SCENARIOS).index(scenario), folder=tmp_path)
    print(found)
    assert found.wrong == {}
    assert len(found.kills) == KILLS
