"""`POST /v1/completions`."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from serve.api.answering import Work, answers, growing, late
from serve.api.backend import Backend
from serve.api.events import event, streamed, to_json, unless_gone
from serve.api.logprobs import CompletionLogprobs
from serve.api.record import Record
from serve.api.refusals import failed_event
from serve.api.replies import REFUSED, reply
from serve.api.schemas import CompletionRequest, CompletionResponse
from serve.messages import Completion, Delta


def completions(backend: Backend) -> APIRouter:
    """The route, over a backend."""
    router = APIRouter(tags=["answers"])

    @router.post("/v1/completions", responses={200: {"model": CompletionResponse}, **REFUSED})
    async def create_completion(body: CompletionRequest, request: Request) -> Response:
        """Continue texts. The answer says which expert wrote it, and why."""
        record, prompts = Record.of(request), body.prompts
        work = await Work.of(backend, record, body.model, prompts, body.generation_requests())
        if body.stream:
            special = None if body.logprobs is None else backend.chat.special
            chunks = _Chunks(work, special).events(backend, record, body.with_usage)
            return await streamed(
                request, chunks, work.headers, backend.deadline_s, failed_event(record), late(backend)
            )
        done = await unless_gone(request, answers(backend, work, record))
        return reply(_whole(work, _best(work, done, body), body, record, backend.chat.special), work.headers)

    return router


def _whole(
    work: Work,
    done: Sequence[tuple[int, Completion]],
    body: CompletionRequest,
    record: Record,
    special: Mapping[int, str],
) -> Any:
    choices = [
        {
            "index": index,
            "text": answer.text,
            "logprobs": None if body.logprobs is None else CompletionLogprobs(special).part(answer.logprobs or ()),
            "finish_reason": answer.finish_reason,
            "route": work.told(prompt),
        }
        for index, (prompt, answer) in enumerate(done)
    ]
    return {**_head(work), "choices": choices, "usage": record.usage, "route": work.told()}


def _best(work: Work, done: Sequence[Completion], body: CompletionRequest) -> list[tuple[int, Completion]]:
    """The answers to give, each with its prompt: of more than `n`, those of the highest mean log-probability."""
    found = list(zip(work.prompt_of, done, strict=True))
    if body.made == (body.n or 1):
        return found
    found.sort(key=lambda item: (item[0], -_mean(item[1])))
    return [item for place, item in enumerate(found) if place % body.made < (body.n or 1)]


def _mean(done: Completion) -> float:
    own = [each.logprob for each in (done.logprobs or ())[-done.completion_tokens :] if each.logprob is not None]
    return sum(own) / max(1, len(own))


def _head(work: Work) -> dict[str, Any]:
    return {
        "id": f"cmpl-{uuid.uuid4().hex}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": work.model,
    }


class _Chunks:
    """A stream's chunks; what they all begin with is written once.

    Args:
        work: of the request.
        special: texts of special tokens, where log-probabilities are asked for.
    """

    def __init__(self, work: Work, special: Mapping[int, str] | None) -> None:
        self._work, self._head = work, to_json(_head(work))[:-1]
        self._unrouted = set(range(len(work.requests)))
        self._logprobs = None if special is None else [CompletionLogprobs(special) for _ in work.requests]

    async def events(self, backend: Backend, record: Record, with_usage: bool) -> AsyncGenerator[str, None]:
        """Of the whole stream."""
        end = ',"usage":null}' if with_usage else "}"
        route = f',"route":{to_json(self._work.told())}'
        async with aclosing(growing(backend, self._work, record)) as parts:  # type: ignore[type-var]
            async for grown in parts:
                choices = ",".join(self._choice(index, delta) for index, delta in grown)
                yield event(f'{self._head},"choices":[{choices}]{route}{end}')
                route = ""
        if with_usage:
            yield event(f'{self._head},"choices":[],"usage":{to_json(record.usage)}}}')
        yield event("[DONE]")

    def _choice(self, index: int, delta: Delta) -> str:
        choice = {
            "index": index,
            "text": delta.text,
            "logprobs": None if self._logprobs is None else self._logprobs[index].part(delta.logprobs),
            "finish_reason": delta.finish_reason,
        }
        if index in self._unrouted:
            self._unrouted.discard(index)
            choice["route"] = self._work.told(self._work.prompt_of[index])
        return to_json(choice)
