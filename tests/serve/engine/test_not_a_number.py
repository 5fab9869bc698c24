"""An expert whose numbers overflow for one request says so, and others' answers are what they would be without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from orchestrator.config.base import PluginSpec
from orchestrator.models import build_model
from serve.engine import Engine, EngineOptions
from serve.engine.native import SWITCH, library
from serve.engine.sampling import choose
from serve.errors import NotANumberError
from serve.messages import GenerationRequest, Sampling
from serve.text import Tokenizer

PLACE = 20
NONE, MOST = float("nan"), float("inf")


class Plain:
    """A row that changes nothing of its logits."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling

    def uniform(self) -> float:
        return 0.5

    def adjust(self, logits_V: torch.Tensor) -> None:
        """Nothing."""


@pytest.fixture(autouse=True, params=["kernel", "torch"])
def _by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(SWITCH, "0" if request.param == "torch" else "1")
    library.cache_clear()
    yield
    library.cache_clear()


@pytest.mark.parametrize("how", [{"temperature": 0.0}, {}, {"top_k": 3}, {"min_p": 0.1}], ids=str)
@pytest.mark.parametrize("size", [5, 40, 9000])
def test_no_token_is_chosen_where_logits_are_no_numbers(how: dict[str, float], size: int) -> None:
    logits = torch.randn(6, size, generator=torch.Generator().manual_seed(0))
    logits[0, 0], logits[1, -1], logits[2, size // 2], logits[3], logits[4, 1:] = NONE, NONE, MOST, -MOST, -MOST
    rows = [Plain(Sampling(**how)) for _ in range(6)]
    chosen = choose(logits, rows)
    assert chosen[:5] == [-1, -1, -1, -1, 0]
    assert chosen[5] == choose(logits[5:], rows[5:])[0] >= 0


def test_a_request_whose_numbers_overflow_is_told_so_and_no_other_one(tokenizer_folder: Path) -> None:
    model = build_model(PluginSpec(type="gpt2", layers=2, width=32, heads=2), 400, 64, 0)
    with torch.no_grad():
        model.transformer.wpe.weight[PLACE] = 3e38
    engine = Engine(model, Tokenizer(tokenizer_folder), EngineOptions(slots=2))
    # Ends before that place, and so near it that blocks of attention hold it.
    short = GenerationRequest((1, 7, 8), Sampling(max_tokens=16, seed=1, logprobs=1, ignore_end=True))
    long = GenerationRequest((1, *range(60, 80)), Sampling(max_tokens=9))
    late = GenerationRequest((1, 9), Sampling(max_tokens=30, ignore_end=True))
    alone = engine.generate([short])
    for broken in (long, late):
        streams = engine.submit([broken, short])
        with pytest.raises(NotANumberError):
            streams[0].result()
        assert streams[1].result() == alone[0]
        assert engine.generate([short, short]) == alone * 2
    assert engine.healthy
