"""`POST /v1/chat/completions`."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from serve.api.answering import Work, answers, growing, late
from serve.api.backend import Backend
from serve.api.chat_schemas import ChatRequest, ChatResponse, Message, asked_of
from serve.api.events import event, streamed, to_json, unless_gone
from serve.api.logprobs import chat_logprobs
from serve.api.record import Record
from serve.api.refusals import failed_event
from serve.api.replies import REFUSED, reply
from serve.chat import PLAIN_STOP
from serve.messages import Completion, Delta, GenerationRequest, Sampling, TokenLogprob


def chat(backend: Backend) -> APIRouter:
    """The route, over a backend."""
    router = APIRouter(tags=["answers"])

    @router.post("/v1/chat/completions", responses={200: {"model": ChatResponse}, **REFUSED})
    async def create_chat_completion(body: ChatRequest, request: Request) -> Response:
        """Answer in a conversation. The last message of the user is routed."""
        record = Record.of(request)
        how = body.chosen(
            body.constraint(),
            max_tokens=body.max_completion_tokens or body.max_tokens,
            **body.ending,
            logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        )
        work = await conversation(backend, record, body.model, body.messages, how, body.n or 1)
        if body.stream:
            chunks = _events(backend, work, record, body)
            return await streamed(
                request, chunks, work.headers, backend.deadline_s, failed_event(record), late(backend)
            )
        done = await unless_gone(request, answers(backend, work, record))
        head = _head(work, "chat.completion")
        whole = {**head, "choices": [*map(_choice, range(len(done)), done)], "usage": record.usage}
        return reply({**whole, "route": work.told()}, work.headers)

    return router


async def conversation(
    backend: Backend, record: Record, model: str, messages: Sequence[Message], how: Sampling, count: int
) -> Work:
    """The next answers in a conversation as work.

    Raises:
        RequestError: no such model, or the conversation is refused.
    """
    asked, template = asked_of(messages), backend.chat
    parts = template.render([{"role": message.role, "content": message.text} for message in messages])
    prompt: str | tuple[int, ...]
    if template.source is None:
        ((prompt, _),) = parts
        how = replace(how, stop=(*how.stop, PLAIN_STOP))
    else:
        tokens = [await backend.tokenize(text, special) for text, special in parts]
        prompt = tuple(token for part in tokens for token in part)
    requests = [GenerationRequest(prompt, how, place) for place in range(count)]
    return await Work.of(backend, record, model, [asked], [requests])


def _head(work: Work, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": work.model}


def _choice(index: int, done: Completion) -> dict[str, Any]:
    return {
        "index": index,
        "message": {"role": "assistant", "content": done.text, "refusal": None},
        "logprobs": _logprobs(done.logprobs),
        "finish_reason": done.finish_reason,
    }


def _logprobs(found: Sequence[TokenLogprob] | None) -> dict[str, Any] | None:
    return None if found is None else {"content": chat_logprobs(found), "refusal": None}


async def _events(backend: Backend, work: Work, record: Record, body: ChatRequest) -> AsyncGenerator[str, None]:
    head, told = to_json(_head(work, "chat.completion.chunk"))[:-1], bool(body.logprobs)
    end = ',"usage":null}' if body.with_usage else "}"
    begun = set[int]()
    async with aclosing(growing(backend, work, record)) as parts:  # type: ignore[type-var]
        async for grown in parts:
            for index in (place for place, _ in grown):
                if index not in begun:
                    begun.add(index)
                    role = {"role": "assistant", "content": "", "refusal": None}
                    yield event(f'{head},"choices":[{_grown(index, role)}],"route":{to_json(work.told())}{end}')
            choices = ",".join(_grown(index, _said(delta), delta, told) for index, delta in grown)
            yield event(f'{head},"choices":[{choices}]{end}')
    if body.with_usage:
        yield event(f'{head},"choices":[],"usage":{to_json(record.usage)}}}')
    yield event("[DONE]")


def _said(delta: Delta) -> dict[str, Any]:
    return {"content": delta.text} if delta.text or not delta.finish_reason else {}


def _grown(index: int, said: dict[str, Any], delta: Delta | None = None, told: bool = False) -> str:
    reason = None if delta is None else delta.finish_reason
    logprobs = _logprobs(delta.logprobs) if delta is not None and told else None
    return to_json({"index": index, "delta": said, "logprobs": logprobs, "finish_reason": reason})
