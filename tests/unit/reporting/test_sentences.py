import math

import pytest

from orchestrator.reporting import sentences


def ratio(value: float, low: float, high: float, **more: str) -> dict:
    return {"ratio": value, "interval": [low, high], **more}


def test_every_expert_best_with_the_closest_rival_named() -> None:
    rivals = {"en": ratio(1.5, 1.4, 1.6, rival="fr"), "fr": ratio(1.2, 1.1, 1.3, rival="en")}
    text = sentences.specialisation(rivals, ["en", "fr"], 0.95)
    assert "its own expert has the lowest perplexity of the 2 experts" in text
    assert "expert en on fr, is higher by a factor of 1.20" in text
    assert "includes no difference" not in text


def test_an_interval_around_one_is_said() -> None:
    rivals = {"en": ratio(1.5, 1.4, 1.6, rival="fr"), "fr": ratio(1.02, 0.97, 1.07, rival="en")}
    assert sentences.specialisation(rivals, ["en", "fr"], 0.95).endswith("on fr the interval includes no difference.")


def test_an_expert_beaten_on_its_own_language_is_said() -> None:
    rivals = {"en": ratio(0.9, 0.8, 1.0, rival="fr"), "fr": ratio(1.2, 1.1, 1.3, rival="en")}
    text = sentences.specialisation(rivals, ["en", "fr"], 0.95)
    assert text == "Only 1 of 2 experts are the best on their own language: on en expert fr is at least as good."


def test_one_language_has_no_rival() -> None:
    assert "no other" in sentences.specialisation({}, ["en"], 0.95)


def test_own_text() -> None:
    assert sentences.own_text({"en": {"en": 1, "py": 2}, "py": {"en": 3, "py": 1}}, ["en", "py"]).startswith(
        "Each expert"
    )
    assert "expert en is lowest on py" in sentences.own_text(
        {"en": {"en": 3, "py": 2}, "py": {"en": 3, "py": 1}}, ["en", "py"]
    )


def test_the_level_of_guessing_is_told_of_each_expert_that_is_there() -> None:
    well = sentences.guessing({"en": ratio(3.0, 2.9, 3.1), "fr": ratio(1.5, 1.4, 1.6)})
    assert well.endswith(
        "better than how often each token occurs does, fr the least: by a factor of 1.50 in perplexity."
    )
    badly = sentences.guessing({"en": ratio(3.0, 2.9, 3.1), "fr": ratio(1.02, 0.98, 1.06)})
    assert badly.startswith("At the level of guessing: fr (a factor of 1.02).")
    assert "guessing: en" in sentences.guessing({"en": {"ratio": 0.9, "interval": None}})


def test_routing_cost() -> None:
    same = ratio(1.0, 1.0, 1.0)
    assert "costs nothing" in sentences.routing_cost({"en": same, "fr": same})
    assert sentences.routing_cost({"en": ratio(1.02, 0.99, 1.05), "fr": same}).endswith(
        "fr unchanged; no interval excludes zero."
    )
    assert sentences.routing_cost({"en": ratio(1.02, 1.01, 1.05), "fr": ratio(0.9, 0.8, 0.95)}).endswith(
        "beyond the interval it is worse on en and better on fr."
    )


@pytest.mark.parametrize(
    ("value", "margin", "verdict"),
    [
        (-0.004, 0.011, "no difference seen at this scale: −0.004 ± 0.011"),
        (-0.040, 0.011, "lower loss at this scale: −0.040 ± 0.011"),
        (0.040, 0.011, "higher loss at this scale: +0.040 ± 0.011"),
        (0.040, math.nan, "+0.040, without an interval: that takes two seeds or more"),
    ],
)
def test_difference(value: float, margin: float, verdict: str) -> None:
    assert sentences.difference(value, margin) == verdict


def test_too_few_documents_have_no_interval() -> None:
    entry = {"ratio": 1.2, "interval": None, "rival": "fr"}
    text = sentences.specialisation({"en": entry, "fr": entry}, ["en", "fr"], 0.95)
    assert text.endswith("by a factor of 1.20 (no interval: too few documents).")
    assert "no interval excludes zero" in sentences.routing_cost({"en": entry})
    assert "(no interval: too few documents)" in sentences.against_teacher({"en": entry})
