"""Nothing is lost without a word while an endpoint's parts die; storm.py says what blows."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tests.serve.storm import run

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray]


def options(requests: int, seed: int) -> argparse.Namespace:
    return argparse.Namespace(requests=requests, different=30, clients=12, every=5.0, seed=seed)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_short_storm(tmp_path: Path) -> None:
    storm = run(tmp_path, options(300, 1))
    assert storm.ok, storm
    assert storm.kills["replica"] >= 2
    assert storm.kills["controller"] == 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_long_storm(tmp_path: Path) -> None:
    storm = run(tmp_path, options(5000, 2))
    assert storm.ok, storm
