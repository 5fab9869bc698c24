"""`/v1/route`, `/tokenize`, `/detokenize`: what the router and the tokenizer say, without an answer."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, model_validator
from starlette.responses import Response

from serve.api import limits
from serve.api.answering import in_time
from serve.api.backend import Backend
from serve.api.chat_schemas import Messages, asked_of
from serve.api.fields import STRICT, Name
from serve.api.record import Record
from serve.api.replies import REFUSED, reply
from serve.api.schemas import Text, Texts, Token
from serve.errors import RequestError
from serve.messages import AUTO, Explanation


class RouteRequest(BaseModel):
    """Body of `POST /v1/route`."""

    model_config = STRICT

    input: Text | Texts
    """One text or several."""


class SpanInfo(BaseModel):
    """A part of a text, from `begin` to `end` (characters), in one language or of none."""

    begin: int
    end: int
    label: str
    text: str


class ReasonInfo(BaseModel):
    """A run of characters or a word, and how much it speaks for the most probable language."""

    feature: str
    weight: float


class RoutedText(BaseModel):
    """What the router says of a text.

    `expert` is null where the recipe's policy is to refuse it. `spans` is empty where the text is of one language.
    """

    index: int
    expert: str | None
    label: str
    reason: str
    probability: float | None
    probabilities: dict[str, float]
    spans: list[SpanInfo]
    reasons: list[ReasonInfo]


class RouteResponse(BaseModel):
    """Answer of `POST /v1/route`."""

    object: str = "list"
    version: str
    data: list[RoutedText]


class TokenizeRequest(BaseModel):
    """Body of `POST /tokenize`: a text, or a conversation."""

    model_config = STRICT

    model: Name = AUTO
    """Accepted, unused: ids are the mixture's, and an expert with a vocabulary of its own spells them in its own."""
    prompt: Annotated[str, Field(max_length=limits.MAX_PROMPT_CHARACTERS)] | None = None
    messages: Messages | None = None
    add_special_tokens: bool = True
    """Put before a text what prompts begin with (<s>, or what the tokenizer has for it), as completions do."""
    return_token_strs: bool | None = None
    """Tell each token's text too."""

    @model_validator(mode="after")
    def _one(self) -> TokenizeRequest:
        if (self.prompt is None) == (self.messages is None):
            raise RequestError("give prompt or messages", "prompt")
        return self


class TokenizeResponse(BaseModel):
    """Answer of `POST /tokenize`, as vLLM has it."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeRequest(BaseModel):
    """Body of `POST /detokenize`."""

    model_config = STRICT

    model: Name = AUTO
    """Accepted, unused: ids are the mixture's, and an expert with a vocabulary of its own spells them in its own."""
    tokens: Annotated[list[Token], Field(max_length=limits.MAX_PROMPT_TOKENS)]


class DetokenizeResponse(BaseModel):
    """Answer of `POST /detokenize`, as vLLM has it."""

    prompt: str


def texts(backend: Backend) -> APIRouter:
    """The routes, over a backend."""
    router = APIRouter(tags=["texts"])

    @router.post("/v1/route", responses={200: {"model": RouteResponse}, **REFUSED})
    async def route(body: RouteRequest, request: Request) -> Response:
        """Say which expert each text would go to, with probabilities, spans of other languages, and why."""
        asked = [body.input] if isinstance(body.input, str) else body.input
        Record.of(request).asked(AUTO, asked)
        async with in_time(backend):
            found = await backend.explain(asked)
        data = [_routed(index, text, said) for index, (text, said) in enumerate(zip(asked, found, strict=True))]
        return reply({"object": "list", "version": backend.version, "data": data})

    @router.post("/tokenize", responses={200: {"model": TokenizeResponse}, **REFUSED})
    async def tokenize(body: TokenizeRequest) -> Response:
        """The token ids of a text, or of a conversation as `/v1/chat/completions` reads it."""
        async with in_time(backend):
            tokens = await _tokens(backend, body)
            names = await backend.detokenize([[token] for token in tokens]) if body.return_token_strs else None
        said = {"count": len(tokens), "max_model_len": backend.context, "tokens": tokens, "token_strs": names}
        return reply(said)

    @router.post("/detokenize", responses={200: {"model": DetokenizeResponse}, **REFUSED})
    async def detokenize(body: DetokenizeRequest) -> Response:
        """The text of token ids; special tokens have none."""
        async with in_time(backend):
            (text,) = await backend.detokenize([body.tokens])
        return reply({"prompt": text})

    return router


async def _tokens(backend: Backend, body: TokenizeRequest) -> list[int]:
    if body.prompt is not None:
        return await backend.tokenize(body.prompt, begin=body.add_special_tokens)
    messages = body.messages or []
    asked_of(messages)
    template = backend.chat
    parts = template.render([{"role": message.role, "content": message.text} for message in messages])
    plain = template.source is None
    return [token for text, special in parts for token in await backend.tokenize(text, special, plain)]


def _routed(index: int, text: str, said: Explanation) -> dict[str, Any]:
    return {
        "index": index,
        "expert": said.expert,
        "label": said.label,
        "reason": "rejected" if said.rejected else "routed",
        "probability": None if said.expert is None else said.probabilities.get(said.expert),
        "probabilities": dict(said.probabilities),
        "spans": [
            {"begin": begin, "end": end, "label": label, "text": text[begin:end]} for begin, end, label in said.spans
        ],
        "reasons": [{"feature": feature, "weight": round(weight, 4)} for feature, weight in said.reasons],
    }
