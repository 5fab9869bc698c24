"""What the interface answers is what the engine answers, in OpenAI's shapes."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import httpx
import pytest

from serve.messages import Constraint, GenerationRequest, Sampling
from serve.mixture import Mixture

EN, FR = "the house near a river", "la maison près du fleuve"


def post(live: httpx.Client, path: str = "/v1/completions", **body: Any) -> Any:
    response = live.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def chunks(live: httpx.Client, path: str = "/v1/completions", **body: Any) -> list[Any]:
    """Of a stream that ends well."""
    response = live.post(path, json={**body, "stream": True})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    *found, last = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert last == "[DONE]"
    return [json.loads(chunk) for chunk in found]


def engine(mixture: Mixture, prompt: str | tuple[int, ...], expert: str = "en", stream: int = 0, **how: Any) -> Any:
    return mixture.engine(expert).generate([GenerationRequest(prompt, Sampling(**how), stream)])[0]


@pytest.mark.parametrize(
    ("asked", "how"),
    [
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"seed": 3}, {"seed": 3}),
        ({"seed": 3, "top_k": 5, "min_p": 0.1, "top_p": 0.9}, {"seed": 3, "top_k": 5, "min_p": 0.1, "top_p": 0.9}),
        ({"seed": 3, "top_k": -1}, {"seed": 3}),
        ({"temperature": 0, "frequency_penalty": 2}, {"temperature": 0.0, "frequency_penalty": 2.0}),
        ({"temperature": 0, "presence_penalty": 2}, {"temperature": 0.0, "presence_penalty": 2.0}),
        ({"temperature": 0, "repetition_penalty": 3}, {"temperature": 0.0, "repetition_penalty": 3.0}),
        ({"temperature": 0, "logit_bias": {"70": 100}}, {"temperature": 0.0, "logit_bias": {70: 100.0}}),
        ({"temperature": 0, "stop": ["Z"]}, {"temperature": 0.0, "stop": ("Z",)}),
        (
            {"temperature": 0, "logit_bias": {"2": 100}, "min_tokens": 3},
            {"temperature": 0.0, "logit_bias": {2: 100.0}, "min_tokens": 3},
        ),
        (
            {"temperature": 0, "logit_bias": {"2": 100}, "ignore_eos": True},
            {"temperature": 0.0, "logit_bias": {2: 100.0}, "ignore_end": True},
        ),
        (
            {"temperature": 0, "logit_bias": {"70": 50}, "min_tokens": 2, "stop_token_ids": [70]},
            {"temperature": 0.0, "logit_bias": {70: 50.0}, "min_tokens": 2, "stop_tokens": (70,)},
        ),
        (
            {"seed": 1, "structured_outputs": {"regex": "[a-c]{9}"}},
            {"seed": 1, "constraint": Constraint("regex", "[a-c]{9}")},
        ),
    ],
)
def test_every_parameter_reaches_the_engine(
    live: httpx.Client, mixture: Mixture, asked: dict[str, Any], how: dict[str, Any]
) -> None:
    expected = engine(mixture, EN, max_tokens=12, **how)
    body = post(live, prompt=EN, max_tokens=12, **asked)
    (choice,) = body["choices"]
    assert (choice["text"], choice["finish_reason"]) == (expected.text, expected.finish_reason)
    assert body["usage"]["completion_tokens"] == expected.completion_tokens
    assert "".join(c["choices"][0]["text"] for c in chunks(live, prompt=EN, max_tokens=12, **asked)) == expected.text


def test_all_experts_answer_together(live: httpx.Client, mixture: Mixture) -> None:
    prompt = f"{FR} {EN}"
    (route,) = mixture.router.route([prompt], "soft")
    how = Sampling(max_tokens=9, temperature=0.0)
    (expected,) = mixture.engine("soft").generate([GenerationRequest(prompt, how, weights=route.weights)])
    response = live.post("/v1/completions", json={"model": "soft", "prompt": prompt, "max_tokens": 9, "temperature": 0})
    body = response.json()
    assert body["choices"][0]["text"] == expected.text
    assert (body["model"], body["route"]["reason"], body["route"]["probability"]) == ("soft", "mixed", None)
    assert body["route"]["probabilities"] == route.probabilities
    assert response.headers["x-mome-expert"] == "soft"
    streamed = chunks(live, model="soft", prompt=[prompt, EN], max_tokens=9, temperature=0)
    texts = ["", ""]
    for choice in (choice for chunk in streamed for choice in chunk["choices"]):
        texts[choice["index"]] += choice["text"]
    assert texts[0] == expected.text
    assert texts[1] != texts[0]


def test_models_are_what_may_be_asked_for(live: httpx.Client) -> None:
    names = [model["id"] for model in live.get("/v1/models").json()["data"]]
    assert names == ["auto", "soft", "en", "fr"]
    assert all(live.get(f"/v1/models/{name}").status_code == 200 for name in names)
    plain, alone = (post(live, prompt=FR, model=name, max_tokens=3, seed=1) for name in ("auto", "auto:no-common"))
    assert plain["choices"] == alone["choices"]  # these experts have no common one


def test_logprobs_have_openais_shape_and_the_engines_values(live: httpx.Client, mixture: Mixture) -> None:
    expected = engine(mixture, EN, max_tokens=8, temperature=0.0, echo=True, logprobs=3)
    asked = {"prompt": EN, "max_tokens": 8, "temperature": 0, "echo": True, "logprobs": 3}
    (choice,) = post(live, **asked)["choices"]
    found = choice["logprobs"]
    assert found["token_logprobs"] == [each.logprob for each in expected.logprobs]
    assert (found["token_logprobs"][0], found["top_logprobs"][0], found["tokens"][0]) == (None, None, "<s>")
    for each, name, top in zip(expected.logprobs[1:], found["tokens"][1:], found["top_logprobs"][1:], strict=True):
        assert top[name] == each.logprob
        assert sorted(top.values(), reverse=True)[:3] == [other.logprob for other in each.top]
    for name, at in zip(found["tokens"], found["text_offset"], strict=True):
        assert name.startswith(("bytes:", "<")) or choice["text"][at:].startswith(name)
    streamed = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for chunk in chunks(live, **asked):
        for part in streamed:
            streamed[part] += chunk["choices"][0]["logprobs"][part]
    assert streamed == found


def test_echo_of_nothing_more_scores_the_prompt(live: httpx.Client, mixture: Mixture) -> None:
    """As harnesses do that read log-likelihoods."""
    tokens = post(live, "/tokenize", prompt=EN)["tokens"]
    assert tokens[0] == 1
    body = post(live, prompt=tokens, max_tokens=0, echo=True, logprobs=0, model="en")
    expected = engine(mixture, EN, max_tokens=1, echo=True, logprobs=0)
    (choice,) = body["choices"]
    assert choice["text"] == EN
    assert choice["logprobs"]["token_logprobs"] == [each.logprob for each in expected.logprobs[:-1]]
    assert (choice["finish_reason"], body["usage"]["completion_tokens"]) == ("length", 0)


def test_token_ids_are_taken_as_they_are_and_routed_by_their_text(live: httpx.Client) -> None:
    tokens = [post(live, "/tokenize", prompt=text)["tokens"] for text in (EN, FR)]
    whole = post(live, prompt=tokens, max_tokens=5, temperature=0)
    assert [choice["route"]["expert"] for choice in whole["choices"]] == ["en", "fr"]
    as_text = post(live, prompt=[EN, FR], max_tokens=5, temperature=0)
    assert [choice["text"] for choice in whole["choices"]] == [choice["text"] for choice in as_text["choices"]]
    assert whole["usage"] == as_text["usage"]


def test_the_best_of_several_has_the_highest_mean_log_probability(live: httpx.Client, mixture: Mixture) -> None:
    made = [engine(mixture, EN, stream=i, max_tokens=6, seed=5, logprobs=0) for i in range(6)]
    means = [sum(each.logprob for each in done.logprobs) / len(done.logprobs) for done in made]
    ranked = sorted(range(6), key=lambda place: -means[place])
    body = post(live, prompt=EN, max_tokens=6, seed=5, n=2, best_of=6)
    assert [choice["text"] for choice in body["choices"]] == [made[place].text for place in ranked[:2]]
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    assert all(choice["logprobs"] is None for choice in body["choices"])
    assert body["usage"]["completion_tokens"] == sum(done.completion_tokens for done in made)


def test_answers_match_what_they_must_match(live: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    named = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    for asked in ({"response_format": named}, {"structured_outputs": {"json": schema}}):
        text = post(live, prompt=EN, max_tokens=40, **asked)["choices"][0]["text"]
        assert json.loads(text)["a"] in (1, 2)
    text = post(live, prompt=EN, max_tokens=40, structured_outputs={"choice": ["a.b", "c|d (e)"]})["choices"][0]["text"]
    assert text in ("a.b", "c|d (e)")
    hello = [{"role": "user", "content": "the"}]
    chat = post(live, "/v1/chat/completions", messages=hello, max_tokens=30, response_format=named)
    assert json.loads(chat["choices"][0]["message"]["content"])["a"] in (1, 2)
    form = {"format": {"type": "json_schema", "name": "x", "schema": schema}}
    response = post(live, "/v1/responses", input="the", max_output_tokens=30, text=form)
    assert json.loads(response["output"][0]["content"][0]["text"])["a"] in (1, 2)


@pytest.mark.parametrize(
    ("asked", "reason"), [({}, "routed"), ({"model": "fr"}, "named"), ({"prompt": "ξένη γλώσσα"}, "rejected")]
)
def test_header_and_body_say_which_expert_and_why(live: httpx.Client, asked: dict[str, Any], reason: str) -> None:
    response = live.post("/v1/completions", json={"prompt": FR, "max_tokens": 1, **asked})
    route = response.json()["route"]
    assert route["reason"] == reason
    assert (response.headers["x-mome-expert"], response.headers["x-mome-version"]) == (route["expert"], "0")
    assert route["expert"] == ("en" if reason == "rejected" else "fr")
    if reason == "routed":
        assert route["probability"] == route["probabilities"]["fr"] > 0.9
        assert math.isclose(sum(route["probabilities"].values()), 1)


def test_a_chat_is_its_plain_form_continued(live: httpx.Client, mixture: Mixture) -> None:
    messages = [{"role": "system", "content": "be"}, {"role": "user", "content": [{"type": "text", "text": FR}]}]
    prompt = f"system: be\n\nuser: {FR}\n\nassistant:"
    expected = [engine(mixture, prompt, "fr", i, max_tokens=6, seed=2, logprobs=2) for i in range(2)]
    asked = {"messages": messages, "max_tokens": 6, "seed": 2, "n": 2, "logprobs": True, "top_logprobs": 2}
    body = post(live, "/v1/chat/completions", **asked)
    assert (body["object"], body["model"], body["route"]["reason"]) == ("chat.completion", "fr", "routed")
    assert [choice["message"]["content"] for choice in body["choices"]] == [done.text for done in expected]
    for choice, done in zip(body["choices"], expected, strict=True):
        found = choice["logprobs"]["content"]
        assert [each["logprob"] for each in found] == [each.logprob for each in done.logprobs if each.piece]
        assert b"".join(bytes(each["bytes"]) for each in found).decode("utf-8", "replace").startswith(done.text[:2])
        assert all(len(each["top_logprobs"]) == 2 for each in found)
    texts, roles = ["", ""], []
    streamed = chunks(live, "/v1/chat/completions", **asked, stream_options={"include_usage": True})
    for choice in (choice for chunk in streamed for choice in chunk["choices"]):
        texts[choice["index"]] += choice["delta"].get("content", "")
        roles += [choice["delta"]["role"]] if "role" in choice["delta"] else []
    assert (texts, roles) == ([done.text for done in expected], ["assistant"] * 2)
    assert streamed[-1]["usage"] == body["usage"]


def test_a_response_is_the_same_answer(live: httpx.Client) -> None:
    asked = {"input": FR, "instructions": "be", "max_output_tokens": 6, "temperature": 0}
    messages = [{"role": "system", "content": "be"}, {"role": "user", "content": FR}]
    chat = post(live, "/v1/chat/completions", messages=messages, max_tokens=6, temperature=0)
    body = post(live, "/v1/responses", **asked)
    assert body["output"][0]["content"][0]["text"] == chat["choices"][0]["message"]["content"]
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert body["usage"]["total_tokens"] == chat["usage"]["total_tokens"]
    text = live.post("/v1/responses", json={**asked, "stream": True}).text
    events = [json.loads(data) for data in re.findall(r"^data: (.*)$", text, re.MULTILINE)]
    assert [each["type"] for each in events] == re.findall(r"^event: (.*)$", text, re.MULTILINE)
    assert [each["sequence_number"] for each in events] == list(range(len(events)))
    deltas = [each["delta"] for each in events if each["type"] == "response.output_text.delta"]
    assert "".join(deltas) == body["output"][0]["content"][0]["text"]
    last = events[-1]
    assert (last["type"], last["response"]["usage"]) == ("response.incomplete", body["usage"])


def test_the_router_explains_itself_as_on_the_command_line(live: httpx.Client, mixture: Mixture) -> None:
    texts = [f"{FR}. {EN}", EN, "ξένη"]
    body = post(live, "/v1/route", input=texts)
    for row, text, said in zip(body["data"], texts, mixture.router.explain(texts), strict=True):
        assert (row["expert"], row["label"], row["probabilities"]) == (
            said.expert,
            said.label,
            dict(said.probabilities),
        )
        assert [(s["begin"], s["end"], s["label"]) for s in row["spans"]] == list(said.spans)
        assert all(span["text"] == text[span["begin"] : span["end"]] for span in row["spans"])
        assert [reason["feature"] for reason in row["reasons"]] == [feature for feature, _ in said.reasons]
    assert [row["reason"] for row in body["data"]] == ["routed", "routed", "rejected"]
    assert post(live, "/v1/route", input=EN)["data"][0]["expert"] == "en"


def test_tokens_there_and_back(live: httpx.Client) -> None:
    text = "à l’aube 👩‍👩‍👧 </s>"
    body = post(live, "/tokenize", prompt=text, return_token_strs=True, add_special_tokens=False)
    assert (body["count"], body["max_model_len"]) == (len(body["tokens"]), 64)
    assert 2 not in body["tokens"]
    assert post(live, "/detokenize", tokens=[1, *body["tokens"]])["prompt"] == text
    messages = [{"role": "user", "content": "hi"}]
    asked = post(live, "/tokenize", messages=messages)
    assert post(live, "/detokenize", tokens=asked["tokens"])["prompt"] == "user: hi\n\nassistant:"
    chat = post(live, "/v1/chat/completions", messages=messages, max_tokens=1)
    assert chat["usage"]["prompt_tokens"] == asked["count"]
