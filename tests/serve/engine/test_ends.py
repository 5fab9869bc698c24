"""Where an answer ends: stop tokens, no end before its time, no end at </s>."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serve.engine import Engine
from serve.errors import ContextLengthError, RequestError
from serve.messages import Completion, Constraint, GenerationRequest, Sampling

PROMPT = "the house near a river"


@pytest.fixture(scope="module")
def engine(padded_model: Path) -> Engine:
    return Engine.load(padded_model)


def answer(engine: Engine, generated: tuple[int, ...] = (), **sampling: Any) -> Completion:
    how = Sampling(**{"max_tokens": 12, "temperature": 0.0, **sampling})
    return engine.generate([GenerationRequest(PROMPT, how, generated=generated)])[0]


def test_an_answer_ends_with_a_stop_token_which_has_no_text(engine: Engine) -> None:
    whole = answer(engine)
    stop = whole.tokens[5]
    at = whole.tokens.index(stop)
    done = answer(engine, stop_tokens=(stop, 10**6))
    assert (done.tokens, done.finish_reason) == (whole.tokens[: at + 1], "stop")
    assert done.text.rstrip("\ufffd") == answer(engine, max_tokens=at).text.rstrip("\ufffd")


def test_nothing_but_the_limit_ends_an_answer_before_its_time(engine: Engine) -> None:
    bias = {engine.tokenizer.end: 100.0}
    assert answer(engine, logit_bias=bias).completion_tokens == 1
    late = answer(engine, logit_bias=bias, min_tokens=4)
    assert (late.completion_tokens, late.finish_reason, late.tokens[-1]) == (5, "stop", engine.tokenizer.end)
    assert answer(engine, (*late.tokens[:2],), logit_bias=bias, min_tokens=4).tokens == late.tokens
    whole = answer(engine)
    assert whole.tokens[0] not in answer(engine, stop_tokens=(whole.tokens[0],), min_tokens=5).tokens[:5]
    text = answer(engine, max_tokens=3).text
    assert answer(engine, stop=(text[0],)).completion_tokens == 1
    assert answer(engine, stop=(text[0],), min_tokens=3).completion_tokens > 3


def test_an_answer_goes_on_after_its_end_where_it_is_asked_to(engine: Engine) -> None:
    done = answer(engine, logit_bias={engine.tokenizer.end: 100.0}, ignore_end=True)
    assert (done.tokens, done.text, done.finish_reason) == ((engine.tokenizer.end,) * 12, "", "length")


def test_what_contradicts_itself_is_refused(engine: Engine) -> None:
    for how in ({"min_tokens": 13}, {"min_tokens": -1}, {"min_tokens": 1, "constraint": Constraint("regex", "a")}):
        with pytest.raises(RequestError, match="min_tokens"):
            answer(engine, **how)
    with pytest.raises(ContextLengthError, match="60 more were asked for"):
        answer(engine, max_tokens=None, min_tokens=60)
