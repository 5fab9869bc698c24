"""`POST /v1/responses`: the part of OpenAI's newer interface that is plain text. Nothing is stored."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from serve.api.answering import Work, answers, growing, late
from serve.api.backend import Backend
from serve.api.chat import conversation
from serve.api.chat_schemas import ResponseRequest
from serve.api.events import event, streamed, to_json, unless_gone
from serve.api.logprobs import chat_logprobs
from serve.api.record import Record
from serve.api.refusals import told
from serve.api.replies import REFUSED, reply
from serve.messages import FinishReason, TokenLogprob


def responses(backend: Backend) -> APIRouter:
    """The route, over a backend."""
    router = APIRouter(tags=["answers"])

    @router.post("/v1/responses", responses={200: {"model": dict[str, Any]}, **REFUSED})
    async def create_response(body: ResponseRequest, request: Request) -> Response:
        """Answer a text or in a conversation. The last message of the user is routed."""
        record = Record.of(request)
        how = body.chosen(body.text.constraint(), max_tokens=body.max_output_tokens, logprobs=body.logprobs)
        work = await conversation(backend, record, body.model, body.messages, how, 1)
        answer = _Answer(work, body, record)
        if body.stream:
            return await streamed(
                request,
                answer.events(backend),
                work.headers,
                backend.deadline_s,
                answer.failed,
                late(backend),
            )
        (done,) = await unless_gone(request, answers(backend, work, record))
        return reply(answer.whole(done.text, done.logprobs or (), done.finish_reason), work.headers)

    return router


class _Answer:
    """A response as it comes to be."""

    def __init__(self, work: Work, body: ResponseRequest, record: Record) -> None:
        self._work, self._record, self._number = work, record, 0
        self._message = f"msg_{uuid.uuid4().hex}"
        text = body.text.model_dump(by_alias=True, exclude_none=True)
        self._head: dict[str, Any] = {
            "id": f"resp_{uuid.uuid4().hex}",
            "object": "response",
            "created_at": int(time.time()),
            "model": work.model,
            "error": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": {},
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "text": text,
            "tool_choice": "none",
            "tools": [],
            "truncation": "disabled",
            "route": work.told(),
        }

    def whole(
        self, text: str, logprobs: tuple[TokenLogprob, ...] | list[TokenLogprob], reason: FinishReason
    ) -> dict[str, Any]:
        """The response when the answer is whole."""
        status = "completed" if reason == "stop" else "incomplete"
        used = self._record.usage
        usage = {
            "input_tokens": used["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": used["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": used["total_tokens"],
        }
        cut = None if status == "completed" else {"reason": "max_output_tokens"}
        message = self._item(status, [self._part(text, logprobs)])
        return {**self._head, "status": status, "incomplete_details": cut, "output": [message], "usage": usage}

    async def events(self, backend: Backend) -> AsyncGenerator[str, None]:
        """The stream, event by event."""
        texts, logprobs, reason = list[str](), list[TokenLogprob](), "stop"
        place = {"item_id": self._message, "output_index": 0, "content_index": 0}
        async with aclosing(growing(backend, self._work, self._record)) as parts:  # type: ignore[type-var]
            async for grown in parts:
                if not self._number:
                    yield self._begin()
                for _, delta in grown:
                    texts.append(delta.text)
                    logprobs += delta.logprobs
                    reason = delta.finish_reason or reason
                    if delta.text or delta.logprobs:
                        more = {"delta": delta.text, "logprobs": chat_logprobs(delta.logprobs)}
                        yield self._event("response.output_text.delta", {**place, **more})
        text = "".join(texts)
        whole = self.whole(text, logprobs, reason)  # type: ignore[arg-type]
        (message,) = whole["output"]
        (part,) = message["content"]
        done = {"text": text, "logprobs": part["logprobs"]}
        yield self._event("response.output_text.done", {**place, **done})
        yield self._event("response.content_part.done", {**place, "part": part})
        yield self._event("response.output_item.done", {"output_index": 0, "item": message})
        yield self._event(f"response.{whole['status']}", {"response": whole})

    def failed(self, error: Exception) -> str:
        """The event that tells an error."""
        said = told(error, self._record).error
        return self._event("error", {"code": said.code or said.type, "message": said.message, "param": said.param})

    def _begin(self) -> str:
        """What is known before the first token."""
        begun = {**self._head, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
        place = {"item_id": self._message, "output_index": 0, "content_index": 0}
        return "".join(
            (
                self._event("response.created", {"response": begun}),
                self._event("response.in_progress", {"response": begun}),
                self._event("response.output_item.added", {"output_index": 0, "item": self._item("in_progress", [])}),
                self._event("response.content_part.added", {**place, "part": self._part("", ())}),
            )
        )

    def _item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self._message, "type": "message", "role": "assistant", "status": status, "content": content}

    def _part(self, text: str, logprobs: tuple[TokenLogprob, ...] | list[TokenLogprob]) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": chat_logprobs(logprobs)}

    def _event(self, kind: str, said: dict[str, Any]) -> str:
        data = to_json({"type": kind, "sequence_number": self._number, **said})
        self._number += 1
        return event(data, kind)
