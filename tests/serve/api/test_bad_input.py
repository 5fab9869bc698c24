"""Whatever is wrong with a request: a 4xx of OpenAI's shape that names the parameter, and never more than that."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

COMPLETION, CHAT, RESPONSE = "/v1/completions", "/v1/chat/completions", "/v1/responses"
HI = [{"role": "user", "content": "hi"}]


def nested(depth: int) -> Any:
    found: Any = {}
    for _ in range(depth):
        found = {"a": found}
    return found


@pytest.mark.parametrize(
    ("path", "bad", "said"),
    [
        (COMPLETION, {"prompt": ["a"] * 33}, "prompt: List should have at most 32 items after validation, not 33"),
        (COMPLETION, {"prompt": [1, -2]}, "prompt[1]: Input should be greater than or equal to 0"),
        (COMPLETION, {"prompt": [True]}, "prompt[0]: Input should be a valid integer"),
        (COMPLETION, {"prompt": 7}, "prompt: Input should be a valid string"),
        (COMPLETION, {"prompt": "a", "stop": ["a"] * 5}, "stop: List should have at most 4 items"),
        (COMPLETION, {"prompt": "a", "str": 5}, "str: Extra inputs are not permitted"),
        (CHAT, {"messages": [{"role": "user", "content": 5}]}, "messages[0].content: Input should be a valid string"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a"}}]}]},
            "messages[0].content[0].type: Input should be 'text'",
        ),
        (CHAT, {"messages": ["x"]}, "messages[0]: must be an object"),
        (CHAT, {"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]: must be an object"),
        (RESPONSE, {"input": ["x"]}, "input[0]: must be an object"),
        (RESPONSE, {"input": "x", "text": None}, "text: must be an object"),
        (RESPONSE, [], "the body is no JSON object"),
        (RESPONSE, None, "the body is empty"),
    ],
)
def test_what_is_wrong_is_said_of_the_part_that_is(client: httpx.Client, path: str, bad: Any, said: str) -> None:
    error = client.post(path, json=bad).json()["error"]
    assert error["message"].startswith(said)
    assert error["param"] == (re.split(r"\W", said)[0] if ":" in said else None)


def test_ids_that_the_vocabulary_lacks_are_refused(live: httpx.Client) -> None:
    for bad, param in (({"prompt": [99_999]}, None), ({"prompt": "a", "logit_bias": {"99999": 1}}, "logit_bias")):
        refused = live.post(COMPLETION, json=bad)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("body", [b'{"prompt":"\xff"}', b"[" * 5000 + b"]" * 5000, b'{"prompt": ' + b"9" * 5000 + b"}"])
def test_a_body_that_can_not_be_read_is_said_to_be_one(client: httpx.Client, body: bytes) -> None:
    refused = client.post(COMPLETION, content=body, headers={"content-type": "application/json"})
    assert refused.status_code == 400
    assert "can't be read" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "bad", "param"),
    [
        (COMPLETION, {}, "prompt"),
        (COMPLETION, {"prompt": ""}, "prompt"),
        (COMPLETION, {"prompt": []}, "prompt"),
        (COMPLETION, {"prompt": [[]]}, "prompt"),
        (COMPLETION, {"prompt": ["a", ""]}, "prompt"),
        (COMPLETION, {"prompt": [1, "a"]}, "prompt"),
        (COMPLETION, {"prompt": [1, -2]}, "prompt"),
        (COMPLETION, {"prompt": [1.5]}, "prompt"),
        (COMPLETION, {"prompt": [True]}, "prompt"),
        (COMPLETION, {"prompt": 7}, "prompt"),
        (COMPLETION, {"prompt": "a" * 200_001}, "prompt"),
        (COMPLETION, {"prompt": ["a"] * 33}, "prompt"),
        (COMPLETION, {"prompt": [1] * 65_537}, "prompt"),
        (COMPLETION, {"prompt": "a", "model": 3}, "model"),
        (COMPLETION, {"prompt": "a", "model": ""}, "model"),
        (COMPLETION, {"prompt": "a", "model": "a" * 257}, "model"),
        (COMPLETION, {"prompt": "a", "temperature": -0.1}, "temperature"),
        (COMPLETION, {"prompt": "a", "temperature": 1e300}, "temperature"),
        (COMPLETION, {"prompt": "a", "temperature": "1"}, "temperature"),
        (COMPLETION, {"prompt": "a", "temperature": True}, "temperature"),
        (COMPLETION, {"prompt": "a", "top_p": 1.1}, "top_p"),
        (COMPLETION, {"prompt": "a", "top_k": -2}, "top_k"),
        (COMPLETION, {"prompt": "a", "top_k": 10**30}, "top_k"),
        (COMPLETION, {"prompt": "a", "min_p": -1}, "min_p"),
        (COMPLETION, {"prompt": "a", "repetition_penalty": 0}, "repetition_penalty"),
        (COMPLETION, {"prompt": "a", "frequency_penalty": 3}, "frequency_penalty"),
        (COMPLETION, {"prompt": "a", "presence_penalty": "x"}, "presence_penalty"),
        (COMPLETION, {"prompt": "a", "logit_bias": {"x": 1}}, "logit_bias"),
        (COMPLETION, {"prompt": "a", "logit_bias": {"٣": 1}}, "logit_bias"),
        (COMPLETION, {"prompt": "a", "logit_bias": {"-3": 1}}, "logit_bias"),
        (COMPLETION, {"prompt": "a", "logit_bias": {"3": 101}}, "logit_bias"),
        (COMPLETION, {"prompt": "a", "logit_bias": {str(i): 1 for i in range(301)}}, "logit_bias"),
        (COMPLETION, {"prompt": "a", "max_tokens": -1}, "max_tokens"),
        (COMPLETION, {"prompt": "a", "max_tokens": 1.5}, "max_tokens"),
        (COMPLETION, {"prompt": "a", "max_tokens": 10**9}, "max_tokens"),
        (COMPLETION, {"prompt": "a", "max_tokens": 0}, None),
        (COMPLETION, {"prompt": "a", "n": 17}, "n"),
        (COMPLETION, {"prompt": "a", "n": 0}, "n"),
        (COMPLETION, {"prompt": "a", "n": 3, "best_of": 2}, "best_of"),
        (COMPLETION, {"prompt": "a", "best_of": 2, "stream": True}, "best_of"),
        (COMPLETION, {"prompt": "a", "logprobs": 21}, "logprobs"),
        (COMPLETION, {"prompt": "a", "logprobs": True}, "logprobs"),
        (COMPLETION, {"prompt": "a", "stop": ["a"] * 5}, "stop"),
        (COMPLETION, {"prompt": "a", "stop": ""}, "stop"),
        (COMPLETION, {"prompt": "a", "stop": "a" * 257}, "stop"),
        (COMPLETION, {"prompt": "a", "stop_token_ids": [-1]}, "stop_token_ids"),
        (COMPLETION, {"prompt": "a", "stop_token_ids": [1] * 65}, "stop_token_ids"),
        (COMPLETION, {"prompt": "a", "stop_token_ids": 3}, "stop_token_ids"),
        (COMPLETION, {"prompt": "a", "min_tokens": -1}, "min_tokens"),
        (COMPLETION, {"prompt": "a", "max_tokens": 2, "min_tokens": 3}, None),
        (COMPLETION, {"prompt": "a", "min_tokens": 3, "structured_outputs": {"regex": "a"}}, None),
        (COMPLETION, {"prompt": "a", "ignore_eos": 1}, "ignore_eos"),
        (COMPLETION, {"prompt": "a", "seed": 2**63}, "seed"),
        (COMPLETION, {"prompt": "a", "colour": "red"}, "colour"),
        (COMPLETION, {"prompt": "a", "suffix": "b"}, "suffix"),
        (COMPLETION, {"prompt": "a", "stream_options": {"x": 1}}, "stream_options"),
        (COMPLETION, {"prompt": ["a"] * 20, "n": 4}, None),
        (COMPLETION, {"prompt": ["a"] * 20, "best_of": 4}, None),
        (COMPLETION, {"prompt": "a", "response_format": {"type": "xml"}}, "response_format"),
        (COMPLETION, {"prompt": "a", "response_format": {"type": "json_schema"}}, "response_format"),
        (COMPLETION, {"prompt": "a", "structured_outputs": {}}, "structured_outputs"),
        (COMPLETION, {"prompt": "a", "structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs"),
        (COMPLETION, {"prompt": "a", "structured_outputs": {"regex": "(" * 9}}, None),
        (COMPLETION, {"prompt": "a", "structured_outputs": {"regex": "a" * 4097}}, "structured_outputs"),
        (COMPLETION, {"prompt": "a", "structured_outputs": {"json": "{"}}, "structured_outputs"),
        (COMPLETION, {"prompt": "a", "structured_outputs": {"json": nested(33)}}, "structured_outputs"),
        (COMPLETION, {"prompt": "a", "structured_outputs": {"json": {"a": "x" * 70_000}}}, "structured_outputs"),
        (COMPLETION, {"prompt": "a", "structured_outputs": {"json": {"type": "nonsense"}}}, None),
        (
            COMPLETION,
            {"prompt": "a", "response_format": {"type": "text"}, "structured_outputs": {"regex": "a"}},
            "structured_outputs",
        ),
        (CHAT, {}, "messages"),
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"messages": "hi"}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": ""}]}, "prompt"),
        (CHAT, {"messages": [{"role": "user"}]}, "prompt"),
        (CHAT, {"messages": [{"role": "tool", "content": "a", "tool_call_id": "1"}]}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": "a" * 200_001}]}, "messages"),
        (CHAT, {"messages": HI * 1025}, "messages"),
        (CHAT, {"messages": HI, "tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        (CHAT, {"messages": HI, "tool_choice": "required"}, "tool_choice"),
        (CHAT, {"messages": HI, "functions": [{}]}, "functions"),
        (CHAT, {"messages": HI, "modalities": ["audio"]}, "modalities"),
        (CHAT, {"messages": HI, "top_logprobs": 2}, "top_logprobs"),
        (CHAT, {"messages": HI, "logprobs": 1}, "logprobs"),
        (CHAT, {"messages": HI, "max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
        (CHAT, {"messages": HI, "max_tokens": 0}, "max_tokens"),
        (RESPONSE, {}, "input"),
        (RESPONSE, {"input": ""}, "input"),
        (RESPONSE, {"input": []}, "input"),
        (RESPONSE, {"input": "hi", "tools": [{"type": "web_search"}]}, "tools"),
        (RESPONSE, {"input": "hi", "previous_response_id": "resp_1"}, "previous_response_id"),
        (RESPONSE, {"input": "hi", "background": True}, "background"),
        (RESPONSE, {"input": "hi", "text": {"format": {"type": "json_schema"}}}, "text"),
        (RESPONSE, {"input": "hi", "n": 2}, "n"),
        ("/v1/route", {}, "input"),
        ("/v1/route", {"input": []}, "input"),
        ("/v1/route", {"input": ["a"] * 33}, "input"),
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": HI}, "prompt"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": [2**31]}, "tokens"),
        ("/detokenize", {"tokens": [100_000]}, None),
    ],
)
def test_it_is_400_and_names_the_parameter(live: httpx.Client, path: str, bad: dict[str, Any], param: str) -> None:
    response = live.post(path, json=bad)
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param), error
    assert error["message"]
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", [COMPLETION, CHAT, RESPONSE, "/v1/route", "/tokenize", "/detokenize"])
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'"text"', b"null", b'{"\\ud800": 1}', b"\xff\xfe", b'{"temperature": NaN}', b"[" * 100_000,
        b'{"prompt": "a", "max_tokens": ' + b"9" * 5000 + b"}", b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ],
)  # fmt: skip
def test_bodies_that_are_no_request_are_400(live: httpx.Client, path: str, body: bytes) -> None:
    response = live.post(path, content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


def test_a_body_without_its_header_is_told_so(live: httpx.Client) -> None:
    response = live.post(COMPLETION, content=b'{"prompt": "a"}')
    assert response.status_code == 400
    assert "content-type: application/json" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "text",
    [
        "\x00",
        "\u202e",
        "\uffff",
        "👩‍👩‍👧",
        "e" + "\u0301" * 3,
        "</s>",
        "<s>",
        " ",
        "\n\r\t",
        "\U0010ffff",
        "ﷺ",
    ],
)
def test_prompts_of_every_kind_of_unicode_are_answered(live: httpx.Client, text: str) -> None:
    escaped = "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else c for c in text)
    for path, body in [
        (COMPLETION, f'{{"prompt": "{escaped}", "max_tokens": 2, "echo": true, "logprobs": 1}}'),
        (COMPLETION, f'{{"prompt": "{escaped}", "max_tokens": 2, "echo": true, "stream": true}}'),
        (COMPLETION, f'{{"prompt": "a", "max_tokens": 2, "stop": "{escaped}"}}'),
        (CHAT, f'{{"messages": [{{"role": "user", "content": "{escaped}"}}], "max_tokens": 2}}'),
        (RESPONSE, f'{{"input": "{escaped}", "instructions": "{escaped}", "max_output_tokens": 2}}'),
        ("/v1/route", f'{{"input": "{escaped}"}}'),
        ("/tokenize", f'{{"prompt": "{escaped}", "return_token_strs": true}}'),
    ]:
        response = live.post(path, content=body.encode(), headers={"content-type": "application/json"})
        assert response.status_code == 200, (path, response.text)


def test_half_a_surrogate_pair_is_no_text(live: httpx.Client) -> None:
    for path, body in [(COMPLETION, rb'{"prompt": "a\ud800"}'), ("/v1/route", rb'{"input": "\udfff"}')]:
        response = live.post(path, content=body, headers={"content-type": "application/json"})
        assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


def test_what_does_not_fit_the_context_says_so(live: httpx.Client) -> None:
    for path, body in [
        (COMPLETION, {"prompt": "river " * 200}),
        (COMPLETION, {"prompt": [1] * 64, "max_tokens": 1}),
        (CHAT, {"messages": [{"role": "user", "content": "river " * 200}]}),
        (RESPONSE, {"input": "a", "max_output_tokens": 100}),
    ]:
        for stream in (False, True):
            response = live.post(path, json={**body, "stream": stream})
            assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_unknown_models_and_paths_are_404(live: httpx.Client) -> None:
    names = ["klingon", "../../etc/passwd", "auto:common", "ēn", "en\x00"]
    bodies = [(COMPLETION, {"prompt": "a"}), (CHAT, {"messages": HI}), (RESPONSE, {"input": "a"})]
    for path, body in bodies:
        for name in names:
            response = live.post(path, json={**body, "model": name})
            assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
    for path in ("/v2", "/page/..%2fapp.py", "/page/app.py", "/v1/models/klingon"):
        assert live.get(path).status_code == 404
    assert live.get(COMPLETION).status_code == 405
