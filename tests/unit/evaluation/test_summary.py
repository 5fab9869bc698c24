from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.evaluation.summary import LanguageLosses, summarise
from orchestrator.records import Tables

CONTEXT = 10


@pytest.fixture
def measured() -> dict[str, LanguageLosses]:
    """Two languages; the second's router sends block 0 to the wrong expert, which is 20 nats worse."""
    rng = np.random.default_rng(0)

    def one(own: str, routes: list[int]) -> LanguageLosses:
        base = rng.normal(40, 3, len(routes))
        losses = {"teacher": base - 5, **{name: base + (0 if name == own else 20) for name in ("en", "py")}}
        return LanguageLosses(CONTEXT, losses, np.array(routes), np.full(len(routes), 30), np.arange(len(routes)))

    return {"en": one("en", [0] * 50), "py": one("py", [0] + [1] * 39)}


def test_entries_means_and_routing(measured: dict[str, LanguageLosses]) -> None:
    result = summarise(measured, bootstrap=500, confidence=0.95, seed=3)
    assert list(result) == list(Tables.__annotations__)  # and in this order: the file's
    losses = measured["py"].losses
    entry = result["experts"]["en"]["py"]
    assert entry["loss"] == pytest.approx(losses["en"].mean() / CONTEXT)
    assert entry["perplexity"] == pytest.approx(np.exp(entry["loss"]))
    assert entry["interval"][0] < entry["perplexity"] < entry["interval"][1]
    assert entry["bits_per_byte"] == pytest.approx(losses["en"].mean() / np.log(2) / 30)
    assert result["true_language"]["py"] == result["experts"]["py"]["py"]
    assert result["routed"]["en"]["perplexity"] == result["true_language"]["en"]["perplexity"]
    assert result["routed"]["py"]["loss"] == pytest.approx((losses["py"].sum() + 20) / 40 / CONTEXT)
    assert result["routed"]["py"]["accuracy"] == 39 / 40
    assert result["routed"]["py"]["routes"] == {"en": 1, "py": 39}
    assert result["routing_cost"]["en"] == {"ratio": 1.0, "interval": (1.0, 1.0)}
    cost = result["routing_cost"]["py"]
    assert cost["ratio"] == pytest.approx(np.exp(20 / 40 / CONTEXT))
    assert cost["interval"][0] == pytest.approx(1.0)
    assert cost["interval"][1] < np.exp(0.2)
    assert (result["blocks"], result["tokens"]) == ({"en": 50, "py": 40}, {"en": 500, "py": 400})
    assert result["bytes"] == {"en": 1500, "py": 1200}


def test_both_means_of_table_5(measured: dict[str, LanguageLosses]) -> None:
    result = summarise(measured, bootstrap=500, confidence=0.9, seed=3)
    teacher, mean = result["teacher"], result["means"]["teacher"]
    assert mean["arithmetic"]["perplexity"] == pytest.approx(
        (teacher["en"]["perplexity"] + teacher["py"]["perplexity"]) / 2
    )
    assert mean["geometric"]["perplexity"] == pytest.approx(
        np.sqrt(teacher["en"]["perplexity"] * teacher["py"]["perplexity"])
    )
    for kind in ("arithmetic", "geometric"):
        low, high = mean[kind]["interval"]
        assert low < mean[kind]["perplexity"] < high
    assert set(result["means"]["experts"]) == {"en", "py"}


def test_same_seed_same_json(measured: dict[str, LanguageLosses]) -> None:
    texts = {json.dumps(summarise(measured, 200, 0.95, seed), allow_nan=False) for seed in (1, 1, 2)}
    assert len(texts) == 2


def test_two_documents_have_no_interval(measured: dict[str, LanguageLosses]) -> None:
    measured["en"] = replace(measured["en"], works=np.repeat([0, 1], 25))
    result = summarise(measured, 200, 0.95, 1)
    assert result["works"] == {"en": 2, "py": 40}
    assert result["teacher"]["en"]["interval"] is None
    assert result["routing_cost"]["en"]["interval"] is None
    assert result["means"]["teacher"]["geometric"]["interval"] is None
    assert result["teacher"]["py"]["interval"] is not None
