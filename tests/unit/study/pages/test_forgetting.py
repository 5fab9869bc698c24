import pytest

from orchestrator.study._paper.pages.data import Session
from orchestrator.study._paper.pages.forgetting import boundaries, forgotten, sequence


def session(learned: tuple[str, ...], **losses: list[float]) -> Session:
    curves = {language: [(10.0 * (i + 1), loss) for i, loss in enumerate(found)] for language, found in losses.items()}
    return Session(learned, {"tokens": 10 * max(map(len, losses.values()))}, curves)


CHAIN = [
    session(("en",), en=[6.0, 4.0], fr=[7.0, 6.8]),
    session(("fr",), en=[3.9, 4.5], fr=[5.0, 5.2]),
    session(("de",), en=[4.8, 4.9], fr=[5.1, 5.0], de=[6.0, 5.5]),
]


def test_end_less_the_lowest_before() -> None:
    found = forgotten(CHAIN, "en")
    assert found is not None
    assert found.increase == pytest.approx(4.9 - 3.9)
    assert found.share == pytest.approx(1.0 / 3.9)
    assert forgotten(CHAIN, "fr").increase == 0  # as low as before


def test_what_still_falls_is_below_zero() -> None:
    single = [session(("en", "fr"), en=[6.0, 5.0, 4.5], fr=[6.0, 5.0, 5.5])]
    assert forgotten(single, "en").increase == pytest.approx(-0.5)
    assert forgotten(single, "fr").increase == pytest.approx(0.5)


def test_what_the_last_of_several_sessions_teaches_has_nothing_to_forget() -> None:
    assert forgotten(CHAIN, "de") is None
    assert forgotten(CHAIN, "es") is None
    assert forgotten([session(("en",), en=[5.0])], "en") is None  # a single evaluation


def test_sessions_follow_each_other_on_the_axis_of_tokens() -> None:
    assert boundaries(CHAIN) == [(0, 20, "en"), (20, 40, "fr"), (40, 60, "de")]
    assert sequence(CHAIN, "de") == [(50, 6.0), (60, 5.5)]
    assert [tokens for tokens, _ in sequence(CHAIN, "en")] == [10, 20, 30, 40, 50, 60]
