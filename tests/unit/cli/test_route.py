from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.artifacts import Store
from orchestrator.cli.route import route_text
from orchestrator.errors import ArtifactError
from orchestrator.routers import Policy, TextRouter
from orchestrator.routers._calibration import KNOTS, SIGNALS, Calibration
from orchestrator.routers._ngrams import ngram_buckets
from orchestrator.routers._router import save_routers
from orchestrator.routers._text_router import TokenBytes

BITS = 12
WORDS = {"en": "the house near a river", "fr": "la maison près du fleuve"}


def write_router(folder: Path) -> None:
    """A router that knows two sentences, and rejects what shares no n-gram with them."""
    weights = np.zeros((1 << BITS, 4), np.float32)
    for column, text in enumerate(WORDS.values()):
        for buckets in ngram_buckets([text], BITS)[0]:
            weights[buckets, column] = weights[buckets, 3] = 1
    rejection = np.zeros((len(KNOTS), SIGNALS + 1), np.float32)
    rejection[:, 3], rejection[:, 4] = -20, 10
    calibration = Calibration(np.full(len(KNOTS), 4, np.float32), rejection)
    router = TextRouter(tuple(WORDS), weights, np.zeros(4, np.float32), calibration, TokenBytes.of([]))
    save_routers(folder, "prompt", {"prompt": router}, "prompt", Policy("fr", 0.5))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    store = Store(tmp_path / "some")
    store.set_current("some", {"router": store.publish("router", "r" * 16, {}, write_router)})
    return tmp_path


def test_label_probabilities_and_reasons(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    route_text("some", "the house near a river", runs)
    shown = capsys.readouterr().out
    assert "label: en" in shown
    assert "what speaks for en" in shown
    assert "Spans" not in shown


def test_spans_of_a_text_that_changes(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    route_text("some", "the house near a river\nla maison près du fleuve", runs)
    shown = capsys.readouterr().out
    assert "Spans" in shown
    assert "0–23" in shown


@pytest.mark.parametrize("text", ["", "ξένη γλώσσα", "[bold]\ud800"])
def test_rejected_text_names_the_policy(runs: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    route_text("some", text, runs)
    shown = capsys.readouterr().out
    assert "label: none" in shown
    assert "policy: fr" in shown


def test_a_run_without_a_router(tmp_path: Path) -> None:
    store = Store(tmp_path / "some")
    store.set_current("some", {"other": store.publish("other", "o" * 16, {}, lambda out: None)})
    with pytest.raises(ArtifactError, match="no router"):
        route_text("some", "text", tmp_path)
