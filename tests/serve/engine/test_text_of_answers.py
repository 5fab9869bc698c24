"""Echo, log-probabilities, stop texts, structured output."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.models import load_model
from serve.engine import Engine, EngineOptions
from serve.engine.stopping import StopTexts
from serve.errors import RequestError
from serve.messages import Constraint, GenerationRequest, Sampling

PROMPT = "the house near a river where children played with their dog every summer morning, near the house"


@pytest.fixture(scope="module", params=[256, 16], ids=["at once", "in chunks"])
def engine(request: pytest.FixtureRequest, padded_model: Path) -> Engine:
    return Engine.load(padded_model, options=EngineOptions(chunk=request.param))


def answer(engine: Engine, prompt: str = PROMPT, **sampling: Any) -> Any:
    return engine.generate([GenerationRequest(prompt, Sampling(**{"temperature": 0.0, **sampling}))])[0]


@torch.inference_mode()
def test_logprobs_of_prompt_and_answer_are_the_models(engine: Engine, padded_model: Path) -> None:
    done = answer(engine, max_tokens=6, logprobs=3, echo=True, logit_bias={40: 5.0}, temperature=0.7, seed=1)
    prompt = engine.tokenizer.encode_prompt(PROMPT)
    ids = [*prompt, *done.tokens]
    logits = load_model(padded_model)(torch.tensor([ids])).logits[0, :, : len(engine.tokenizer.bytes)]
    wanted = logits.log_softmax(-1)
    assert [told.token for told in done.logprobs] == ids
    assert done.logprobs[0].logprob is None
    for place, told in enumerate(done.logprobs[1:]):
        assert told.logprob == pytest.approx(float(wanted[place, ids[place + 1]]), abs=1e-4)
        assert [other.token for other in told.top] == wanted[place].topk(3).indices.tolist()
        assert told.piece == engine.tokenizer.bytes[told.token]
    assert done.text.startswith(PROMPT)
    assert len(done.tokens) == 6


def test_logprobs_without_alternatives_and_without_echo(engine: Engine) -> None:
    done = answer(engine, max_tokens=4, logprobs=0)
    assert [told.token for told in done.logprobs] == list(done.tokens)
    assert all(told.top == () and told.logprob <= 0 for told in done.logprobs)
    assert answer(engine, max_tokens=4).logprobs is None


def test_a_penalty_keeps_an_answer_from_repeating(engine: Engine) -> None:
    plain = answer(engine, max_tokens=30).tokens
    varied = answer(engine, max_tokens=30, presence_penalty=1000.0).tokens
    assert len(set(plain)) < len(plain)
    assert len(set(varied)) == len(varied)


TEXT = st.text("ab", max_size=12)
STOPS = st.lists(st.text("ab", min_size=1, max_size=4), max_size=3)


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXT, max_size=8), STOPS)
def test_stop_texts_are_found_across_pieces_and_nothing_is_told_too_early(pieces: list[str], stops: list[str]) -> None:
    whole = "".join(pieces)
    first = min((end for stop in stops if (at := whole.find(stop)) >= 0 for end in [at + len(stop)]), default=None)
    texts, told = StopTexts(stops), ""
    for piece in pieces:
        told += texts.push(piece)
        assert whole.startswith(told)
        if texts.stopped:
            break
        assert not any(stop in told for stop in stops)
    if first is None:
        assert not texts.stopped
        assert told + texts.flush() == whole
    else:
        assert texts.stopped
        assert not any(stop in told for stop in stops)
        assert any(whole[len(told) :].startswith(stop) for stop in stops)


class TestStructured:
    @pytest.fixture(autouse=True)
    def _llguidance(self) -> None:
        pytest.importorskip("llguidance")

    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    @pytest.mark.parametrize("pattern", ["(en|fr)-[0-9]{3}", "é+a", "</s>!", "<s>[ab]{2}", "1(\\.[0-9]{2})?"])
    def test_answers_match_the_expression(self, engine: Engine, pattern: str, temperature: float) -> None:
        how = {"constraint": Constraint("regex", pattern), "temperature": temperature, "seed": 4, "max_tokens": 30}
        done = answer(engine, **how)
        if done.finish_reason == "stop":
            assert re.fullmatch(pattern, done.text)
        else:
            assert pattern == "é+a"  # it may go on for ever

    def test_answers_are_json_of_the_schema(self, engine: Engine) -> None:
        schema = {
            "type": "object",
            "properties": {
                "name": {"enum": ["anna", "b</s>b"]},
                "age": {"type": "integer", "minimum": 0, "maximum": 99},
            },
            "required": ["name", "age"],
            "additionalProperties": False,
        }
        for seed in range(4):
            constraint = Constraint("json_schema", json.dumps(schema))
            done = answer(engine, constraint=constraint, temperature=1.5, seed=seed, max_tokens=45)
            found = json.loads(done.text)
            assert found["name"] in ("anna", "b</s>b")
            assert 0 <= found["age"] <= 99
            assert set(found) == {"name", "age"}
            assert done.finish_reason == "stop"

    def test_rows_with_and_without_a_constraint_are_beside_one_another(self, engine: Engine) -> None:
        free = GenerationRequest(PROMPT, Sampling(max_tokens=10, temperature=0.0))
        bound = GenerationRequest(PROMPT, Sampling(max_tokens=10, constraint=Constraint("regex", "[0-9]{10}"), seed=1))
        both = engine.generate([free, bound])
        assert both[0] == engine.generate([free])[0]
        assert re.fullmatch("[0-9]{10}", both[1].text)

    @pytest.mark.parametrize(
        "bad", [Constraint("regex", "(a"), Constraint("json_schema", "{"), Constraint("json_schema", '{"type": "cow"}')]
    )
    def test_what_is_no_expression_or_schema_is_refused(self, engine: Engine, bad: Constraint) -> None:
        with pytest.raises(RequestError, match="is not valid"):
            answer(engine, constraint=bad)
        assert engine.healthy

    @pytest.mark.parametrize(
        ("kind", "text", "said"),
        [
            ("regex", "(", "the regex is not valid: unclosed group"),
            ("regex", "(?=a)b", "the regex is not valid: look-around, including look-ahead and look-behind, is not"),
            ("regex", r"a\b", "the regex is not valid: lookarounds not supported yet"),
            ("json_schema", '{"type": "string", "pattern": "("}', "the json_schema is not valid: unclosed group"),
            ("json_schema", json.dumps({"type": "cow" * 9999}), "the json_schema is not valid: Invalid type: cow"),
            ("json_schema", '{"$ref": "#"}', "the json_schema can be matched by no text"),
            ("regex", r"a[^\s\S]", "the regex can be matched by no text"),
        ],
    )
    def test_a_refusal_says_in_a_line_what_is_wrong(self, engine: Engine, kind: Any, text: str, said: str) -> None:
        with pytest.raises(RequestError) as refused:
            answer(engine, constraint=Constraint(kind, text))
        assert refused.value.what.startswith(said)
        assert len(refused.value.what) < 250
        assert "\n" not in refused.value.what

    def test_a_row_whose_constraint_fails_ends_alone(self, engine: Engine) -> None:
        bound = Sampling(max_tokens=10, constraint=Constraint("regex", "[0-9]{10}"), seed=1)
        free = GenerationRequest(PROMPT, Sampling(max_tokens=10, temperature=0.0))
        letter = engine.tokenizer.bytes.index(b"e")
        broken, whole = engine.submit([GenerationRequest(PROMPT, bound, 0, (letter,)), free])
        with pytest.raises(RequestError, match="constraint can't be followed"):
            broken.result()
        assert whole.result() == engine.generate([free])[0]
        assert engine.healthy


@pytest.mark.parametrize("expression", ["(a{1000}){1000}", "(?i)" + "[a-z]*" * 400, "(a|aa)+" * 200])
def test_an_expression_that_takes_long_to_read_holds_nobody_up(engine: Engine, expression: str) -> None:
    begun = time.process_time()
    with pytest.raises(RequestError, match=r"is too large$"):
        answer(engine, max_tokens=8, constraint=Constraint("regex", expression))
    assert time.process_time() - begun < 0.6
    assert engine.healthy


def test_answers_of_one_constraint_go_their_own_ways(engine: Engine) -> None:
    how = Sampling(max_tokens=12, seed=1, constraint=Constraint("regex", "(a[0-9]+|b[x-z]+)\\."))
    done = engine.generate([GenerationRequest(PROMPT, how, place) for place in range(8)])
    assert len({each.text for each in done}) > 3
    assert all(re.match(r"a[0-9]+|b[x-z]+", each.text) for each in done)
