"""Clients that people have already: OpenAI's own, and an agent library over it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from serve.api import Keys, create_app, keys


class Answer(BaseModel):
    """What an agent is to say."""

    a: Literal[1, 2]


openai = pytest.importorskip("openai")
FR = "la maison près du fleuve"
HI = [{"role": "user", "content": FR}]
SCHEMA = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}


@pytest.fixture
def client(address: str) -> Any:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_completions(client: Any) -> None:
    asked = {"model": "auto", "prompt": FR, "max_tokens": 6, "temperature": 0, "logprobs": 2}
    whole = client.completions.create(**asked)
    assert (whole.model, whole.usage.completion_tokens, whole.choices[0].finish_reason) == ("fr", 6, "length")
    assert len(whole.choices[0].logprobs.tokens) == 6
    assert whole.route["reason"] == "routed"
    parts = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(part.choices[0].text for part in parts if part.choices) == whole.choices[0].text
    assert parts[-1].usage == whole.usage
    raw = client.completions.with_raw_response.create(**asked, extra_body={"top_k": 5, "repetition_penalty": 1.1})
    assert (raw.headers["x-mome-expert"], len(raw.headers["x-request-id"])) == ("fr", 32)


def test_chats(client: Any) -> None:
    ends = {"structured_outputs": {"regex": "[a-c]{4}"}}
    asked = {"model": "auto", "messages": HI, "max_completion_tokens": 6, "temperature": 0, "extra_body": ends}
    whole = client.chat.completions.create(**asked, logprobs=True, top_logprobs=2)
    assert whole.choices[0].logprobs.content[0].top_logprobs[0].logprob <= 0
    with client.chat.completions.stream(**asked) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == whole.choices[0].message.content
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
    text = client.chat.completions.create(
        **{**asked, "max_completion_tokens": 20, "extra_body": {}}, response_format=form
    )
    assert text.choices[0].message.content.startswith('{"a": ')


def test_responses(client: Any) -> None:
    asked = {"model": "auto", "input": FR, "max_output_tokens": 6, "temperature": 0}
    whole = client.responses.create(**asked)
    assert (whole.status, whole.usage.output_tokens) == ("incomplete", 6)
    *_, last = client.responses.create(**asked, stream=True)
    assert (last.type, last.response.output_text) == ("response.incomplete", whole.output_text)
    form = {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}
    with client.responses.stream(**{**asked, "max_output_tokens": 20}, text=form) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text.startswith('{"a": ')
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


def test_models(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["auto", "soft", "en", "fr"]
    assert client.models.retrieve("fr").id == "fr"


def test_refusals_are_the_clients_own_errors(client: Any) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.completions.create(model="klingon", prompt="a")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    with pytest.raises(openai.BadRequestError, match="call no tools"):
        client.chat.completions.create(model="auto", messages=HI, tools=[tool])
    with pytest.raises(openai.BadRequestError) as long:
        list(client.completions.create(model="auto", prompt="river " * 200, stream=True))
    assert long.value.code == "context_length_exceeded"


def test_what_breaks_in_a_stream_is_raised_and_keys_hold(
    backend: Any, served: Callable[[Any], AbstractContextManager[str]], tmp_path: Path
) -> None:
    key = keys.add(tmp_path / "keys.json", "me")
    app = create_app(backend, Keys(tmp_path / "keys.json"))
    with served(app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        with pytest.raises(openai.APIError, match="lost"):
            list(client.completions.create(model="auto", prompt="breaks", stream=True))
        with pytest.raises(openai.RateLimitError):
            client.completions.create(model="auto", prompt="busy")
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="wrong").models.list()


def test_an_agent_library_talks_to_it(address: str) -> None:
    pydantic_ai = pytest.importorskip("pydantic_ai")
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async def ask(kind: Any, client: Any) -> Answer:
        """With an answer of a type, as the server's JSON schema makes a model of any quality give it."""
        model = kind("auto", provider=OpenAIProvider(openai_client=client))
        output = pydantic_ai.NativeOutput(Answer, template=False)
        agent = pydantic_ai.Agent(model, instructions="be", output_type=output)
        settings = {"max_tokens": 20, "temperature": 0.0}
        whole = await agent.run(FR, model_settings=settings)
        async with agent.run_stream(FR, model_settings=settings) as running:
            assert await running.get_output() == whole.output
        assert whole.usage.output_tokens > 0
        return whole.output  # type: ignore[no-any-return]

    async def all_of_them() -> list[Answer]:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none") as client:
            return [await ask(kind, client) for kind in (OpenAIChatModel, OpenAIResponsesModel)]

    chat, response = asyncio.run(all_of_them())
    assert chat == response
    assert chat.a in (1, 2)
