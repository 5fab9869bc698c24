import math

import pytest

from orchestrator.reporting.effects import Effect
from orchestrator.study._paper.pages.claims import Claim

INF = math.inf


def claim(low: float, high: float, least: float = -INF, most: float = INF, seeds: int = 3) -> Claim:
    middle = (low + high) / 2
    effect = Effect(middle, (low, high), (low, high) if seeds > 1 else None, seeds)
    return Claim("RQ0", "it is so", "one less other", "−0.010", effect, least=least, most=most)


@pytest.mark.parametrize(
    ("low", "high", "least", "most", "verdict"),
    [
        (-0.2, -0.1, -INF, 0, "holds"),
        (0.1, 0.2, -INF, 0, "does not hold"),
        (-0.1, 0.1, -INF, 0, "open"),
        (0, 0, -INF, 0, "does not hold"),
        (0.5, 0.7, 0.05, INF, "holds"),
        (0.01, 0.03, 0.05, INF, "does not hold"),
        (0.01, 0.07, 0.05, INF, "open"),
        (-0.01, 0.03, -0.05, 0.05, "holds"),
        (-0.06, 0.03, -0.05, 0.05, "open"),
        (0.06, 0.08, -0.05, 0.05, "does not hold"),
        (-0.08, -0.06, -0.05, 0.05, "does not hold"),
        (-2.5, -2.3, -INF, -0.3, "holds"),
        (-0.25, -0.15, -INF, -0.3, "does not hold"),
    ],
)
def test_a_claim_holds_where_its_whole_interval_lies_in_the_region(low, high, least, most, verdict) -> None:
    assert claim(low, high, least, most).verdict == verdict


def test_seeds_count_before_blocks() -> None:
    effect = Effect(-0.1, (-0.11, -0.09), (-0.3, 0.1), 2)
    assert Claim("RQ0", "t", "n", "", effect, most=0).verdict == "open"


def test_no_number_and_no_interval() -> None:
    assert Claim("RQ0", "t", "n", "", Effect(-0.1), most=0).verdict == "open"
    missing = Claim("RQ0", "t", "n", "", None, "nobody asked", most=0)
    assert missing.verdict == "not asked"
    assert missing.sentence == "Not asked: t (nobody asked)."
    assert missing.what_would_change_it == "Nobody asked."


def test_sentences_say_what_the_interval_covers() -> None:
    assert claim(-0.2, -0.1, most=0).sentence == (
        "Holds: it is so. One less other: −0.150 nats a token ([−0.200, −0.100], 3 seeds). The paper: −0.010."
    )
    assert "one seed, text noise only" in claim(-0.2, -0.1, most=0, seeds=1).sentence


def test_regions_in_words() -> None:
    assert claim(0, 1, most=0).region == "below zero"
    assert claim(0, 1, most=-0.3).region == "below −0.30"
    assert claim(0, 1, -0.05, 0.05).region == "between −0.05 and +0.05"
    assert Claim("RQ3", "t", "accuracy", "", Effect(0.995), least=0.99, unit="share").region.startswith("above 99")


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (claim(-0.2, -0.1, most=0), "3.0 times as widely"),
        (claim(-0.15, 0.06, most=0), "About 17 seeds"),
        (claim(-0.1, 0.1, most=0), "too near"),
        (claim(-0.2, -0.1, most=0, seeds=1), "More seeds"),
        (claim(-0.1, -0.1, most=0), "all gave the same"),
    ],
)
def test_what_would_change_it(found: Claim, text: str) -> None:
    assert text in found.what_would_change_it
