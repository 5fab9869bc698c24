from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from serve.api.events import event, to_json
from serve.messages import Completion, TokenLogprob


def post(client: TestClient, **body: Any) -> Any:
    return client.post("/v1/completions", json=body)


def test_one_prompt_has_openais_shape_and_its_route(client: TestClient) -> None:
    body = post(client, model="auto", prompt="la mer", user="me", stream=False).json()
    assert body["id"].startswith("cmpl-")
    assert (body["object"], body["model"]) == ("text_completion", "fr")
    shares = {"en": 0.1, "fr": 0.9}
    assert body["route"] == {
        "expert": "fr", "reason": "routed", "probability": 0.9, "probabilities": shares, "version": "7"
    }  # fmt: skip
    assert body["choices"] == [
        {"index": 0, "text": " fr la mer 0", "finish_reason": "length", "logprobs": None, "route": body["route"]}
    ]
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def test_prompts_of_several_languages_go_to_their_experts_as_one_batch_each(client: TestClient, backend: Any) -> None:
    body = post(client, prompt=["la", "the", "le"], n=2, temperature=0, stop=".", max_tokens=7, seed=4).json()
    assert [choice["text"] for choice in body["choices"]] == [
        " fr la 0", " fr la 1", " en the 0", " en the 1", " fr le 0", " fr le 1",
    ]  # fmt: skip
    assert [choice["index"] for choice in body["choices"]] == list(range(6))
    assert [choice["route"]["expert"] for choice in body["choices"]] == ["fr", "fr", "en", "en", "fr", "fr"]
    assert (body["model"], body["route"]["expert"]) == ("auto", "fr")
    assert body["usage"] == {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
    assert sorted((expert, len(batch)) for expert, batch in backend.calls) == [("en", 2), ("fr", 4)]
    sampling = backend.calls[0][1][0].sampling
    assert (sampling.temperature, sampling.stop, sampling.max_tokens, sampling.seed) == (0.0, (".",), 7, 4)


def test_defaults_are_openais(client: TestClient, backend: Any) -> None:
    assert post(client, model="en", prompt="x", max_tokens=None, temperature=None).json()["route"] == {
        "expert": "en",
        "reason": "named",
        "probability": None,
        "probabilities": None,
        "version": "7",
    }
    sampling = backend.calls[0][1][0].sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.stop) == (16, 1.0, 1.0, ())


def test_parameters_that_change_nothing_are_accepted(client: TestClient) -> None:
    unused = {"user": "me", "stream_options": {"include_obfuscation": False}}
    chat = {**unused, "prompt_cache_retention": "24h", "prompt_cache_key": "a", "service_tier": "auto"}
    assert post(client, prompt="a", stream=True, **unused).status_code == 200
    messages = [{"role": "user", "content": "a"}]
    assert client.post("/v1/chat/completions", json={"messages": messages, "stream": True, **chat}).status_code == 200
    assert client.post("/v1/responses", json={"input": "a", "stream": True, **chat}).status_code == 200


def test_models_and_health(client: TestClient) -> None:
    listing = client.get("/v1/models").json()
    assert listing["object"] == "list"
    assert [(m["id"], m["object"]) for m in listing["data"]] == [("auto", "model"), ("en", "model"), ("fr", "model")]
    assert client.get("/health").json() == {"status": "ok", "experts": ["en", "fr"], "version": "7"}
    assert (client.head("/health").status_code, client.head("/v1/completions").status_code) == (200, 405)


def streamed(client: TestClient, **body: Any) -> tuple[list[Any], str]:
    """The chunks of a stream, and its last event."""
    response = post(client, stream=True, **body)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    *chunks, last = response.text.rstrip().split("\n\n")
    return [json.loads(chunk.removeprefix("data: ")) for chunk in chunks], last


def test_a_stream_says_the_same_as_the_whole_answer(client: TestClient) -> None:
    whole = post(client, prompt=["la", "the"], n=2).json()
    chunks, last = streamed(client, prompt=["la", "the"], n=2, stream_options={"include_usage": True})
    assert last == "data: [DONE]"
    texts, reasons = {}, {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        texts[choice["index"]] = texts.get(choice["index"], " ") + choice["text"]
        reasons[choice["index"]] = choice["finish_reason"]
    assert [texts[i] for i in range(4)] == [choice["text"] for choice in whole["choices"]]
    assert set(reasons.values()) == {"length"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], whole["usage"])


def test_a_stream_that_is_lost_ends_with_an_error_and_without_done(client: TestClient) -> None:
    chunks, last = streamed(client, prompt="breaks")
    assert chunks[0]["choices"][0]["text"] == "en"
    assert last.startswith("event: error")
    assert json.loads(last.partition("data: ")[2])["error"]["code"] == "unavailable"


def test_what_is_refused_before_the_first_token_has_its_status_in_a_stream_too(client: TestClient) -> None:
    assert post(client, prompt="busy", stream=True).status_code == 429
    assert post(client, prompt="slow", stream=True).status_code == 504


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"text"', b"null", b'{"prompt": "\\ud800"}', b'{"\\ud800": 1, "prompt": "a"}', b"\xff\xfe",
     b'{"prompt": "a", "temperature": NaN}', b"[" * 100_000],
)  # fmt: skip
def test_bodies_that_are_no_request_are_400(client: TestClient, body: bytes) -> None:
    response = client.post("/v1/completions", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"model": "klingon", "prompt": "a"}, 404, "model_not_found"),
        ({"prompt": "long"}, 400, "context_length_exceeded"),
        ({"prompt": "busy"}, 429, "overloaded"),
        ({"prompt": "slow"}, 504, "timeout"),
        ({"prompt": "bug"}, 500, None),
        ({"prompt": "bug", "stream": True}, 500, None),
    ],
)
def test_refusals_have_their_status_and_code(
    client: TestClient, request_: dict[str, Any], status: int, code: str | None
) -> None:
    response = client.post("/v1/completions", json=request_, headers={"x-request-timeout-seconds": "0"})
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert "secret" not in response.text


def test_a_body_over_the_limit_is_refused_whatever_its_headers_say(client: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"prompt": "'
        for _ in range(9):
            yield b"a" * 2**20
        yield b'"}'

    response = client.post("/v1/completions", content=chunks(), headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]["type"]) == (413, "invalid_request_error")


def test_unknown_paths_and_methods_have_the_same_shape(client: TestClient) -> None:
    for response, status in [(client.get("/v2"), 404), (client.get("/v1/completions"), 405)]:
        assert (response.status_code, response.json()["error"]["type"]) == (status, "invalid_request_error")


def test_a_number_that_json_does_not_have_is_a_fault_of_ours(
    client: TestClient, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def generate(*_: Any) -> list[Completion]:
        return [Completion("a", 1, 1, "length", (5,), (TokenLogprob(5, b"a", float("nan")),))]

    monkeypatch.setattr(backend, "generate", generate)
    answer = post(client, prompt="a", logprobs=0)
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")


def test_text_with_other_line_ends_stays_one_event() -> None:
    text = "a\u2028b\u2029c\x85d\x0ce"
    response = httpx.Response(200, content=event(to_json({"text": text})).encode())
    (line,) = [line for line in response.iter_lines() if line]
    assert json.loads(line.removeprefix("data: ")) == {"text": text}
