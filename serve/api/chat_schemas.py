"""OpenAI's chat completions and responses as typed models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from serve.api import limits
from serve.api.fields import STRICT, UNUSED, ChoiceFields, GenerationFields, ResponseFormat, without_unsupported
from serve.api.schemas import RouteInfo, Usage
from serve.errors import EmptyPromptError, RequestError
from serve.messages import Constraint, FinishReason

_NOTHING: tuple[Any, ...] = (None, [])
_TOOLS: dict[str, tuple[Any, ...]] = {
    "tools": _NOTHING,
    "tool_choice": (None, "none", "auto"),
    "functions": _NOTHING,
    "function_call": (None, "none", "auto"),
}
_UNUSED = ("user", "metadata", "store", "service_tier", "parallel_tool_calls", "prompt_cache_key",
           "prompt_cache_retention", "safety_identifier")  # fmt: skip
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(_UNUSED, (UNUSED,)),
    "modalities": (None, ["text"]),
    **dict.fromkeys(("audio", "prediction", "reasoning_effort", "verbosity", "web_search_options"), (None,)),
}
_RESPONSES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys((*_UNUSED, "stream_options"), (UNUSED,)),
    **dict.fromkeys(("previous_response_id", "conversation", "prompt", "reasoning", "max_tool_calls"), (None,)),
    "background": (None, False),
    "truncation": (None, "disabled"),
}


class Part(BaseModel):
    """A part of a message's content."""

    model_config = STRICT

    type: Literal["text", "input_text", "output_text"]
    text: str
    annotations: list[Any] | None = None
    """Accepted, unused."""
    logprobs: list[Any] | None = None
    """Accepted, unused."""


class Message(BaseModel):
    """A message of a conversation."""

    model_config = STRICT

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[Part], Field(max_length=limits.MAX_MESSAGES)] | None = None
    name: str | None = None
    """Accepted, unused."""
    refusal: None = None
    type: Literal["message"] | None = None
    id: str | None = None
    status: str | None = None

    @property
    def text(self) -> str:
        """Its content."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content or ())


Messages = Annotated[list[Message], Field(min_length=1, max_length=limits.MAX_MESSAGES)]


class ChatRequest(ChoiceFields):
    """Body of `POST /v1/chat/completions`."""

    messages: Messages
    """The conversation. The last message of the user is what the router reads."""
    max_completion_tokens: Annotated[int, Field(ge=1, le=limits.MAX_TOKENS)] | None = None
    """New tokens at most; as many as the context has room for where it is not given."""
    max_tokens: Annotated[int, Field(ge=1, le=limits.MAX_TOKENS)] | None = None
    """The same, by its old name."""
    logprobs: bool | None = None
    """Log-probabilities of the tokens."""
    top_logprobs: Annotated[int, Field(ge=0, le=limits.MAX_LOGPROBS)] | None = None
    """Beside those of so many alternatives."""

    @model_validator(mode="before")
    @classmethod
    def _without_unsupported(cls, data: Any) -> Any:
        return without_unsupported(_without_tools(data), _UNSUPPORTED)

    @model_validator(mode="after")
    def _consistent(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise RequestError("top_logprobs needs logprobs: true", "top_logprobs")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise RequestError("max_tokens and max_completion_tokens are one parameter; give one", "max_tokens")
        return self


class TextFormat(BaseModel):
    """What the text of a response must be."""

    model_config = STRICT

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class TextOptions(BaseModel):
    """Of the text of a response."""

    model_config = STRICT

    format: TextFormat = Field(default_factory=TextFormat)
    verbosity: Literal["low", "medium", "high"] | None = None
    """Accepted, unused."""

    def constraint(self) -> Constraint | None:
        """What the answer must match."""
        if self.format.type == "json_schema" and self.format.schema_ is None:
            raise RequestError("a text format of type json_schema needs a schema", "text")
        schema = {"name": "answer", "schema": self.format.schema_ or {}}
        kind: dict[str, Any] = {"type": self.format.type, "json_schema": schema}
        return ResponseFormat(**kind).constraint()


class ResponseRequest(GenerationFields):
    """Body of `POST /v1/responses`: the part of it that is plain text. Nothing is stored."""

    input: Annotated[str, Field(min_length=1)] | Messages
    """A text, or a conversation."""
    instructions: str | None = None
    """The system's message."""
    max_output_tokens: Annotated[int, Field(ge=1, le=limits.MAX_TOKENS)] | None = None
    """New tokens at most; as many as the context has room for where it is not given."""
    stream: bool | None = None
    """Send events as the answer grows."""
    text: TextOptions = Field(default_factory=TextOptions)
    """Of the text: JSON, or JSON of a schema."""
    include: list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None = None
    """More to be told: log-probabilities."""
    top_logprobs: Annotated[int, Field(ge=0, le=limits.MAX_LOGPROBS)] | None = None
    """Beside those of so many alternatives."""

    @model_validator(mode="before")
    @classmethod
    def _without_unsupported(cls, data: Any) -> Any:
        return without_unsupported(_without_tools(data), _RESPONSES)

    @property
    def messages(self) -> list[Message]:
        """The conversation."""
        asked = [Message(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        return ([Message(role="system", content=self.instructions)] if self.instructions else []) + asked

    @property
    def logprobs(self) -> int | None:
        """How many alternatives to tell beside each token; None: no log-probabilities."""
        asked = self.top_logprobs is not None or "message.output_text.logprobs" in (self.include or ())
        return self.top_logprobs or 0 if asked else None


class ChatMessage(BaseModel):
    """What the assistant says."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    """One answer."""

    index: int
    message: ChatMessage
    logprobs: dict[str, Any] | None
    finish_reason: FinishReason


class ChatResponse(BaseModel):
    """Answer of `POST /v1/chat/completions`. `route` is ours, the rest OpenAI's."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    route: RouteInfo


def asked_of(messages: Sequence[Message]) -> str:
    """What the router reads: the last message of the user, else the last one.

    Raises:
        EmptyPromptError: nobody says anything. RequestError: the conversation is too long.
    """
    if sum(len(message.text) for message in messages) > limits.MAX_PROMPT_CHARACTERS:
        raise RequestError(
            f"a conversation may have {limits.MAX_PROMPT_CHARACTERS} characters at most", "messages", "leave some out"
        )
    said = [message for message in messages if message.text]
    if not said:
        raise EmptyPromptError("the conversation is empty", fix="write at least one character")
    return next((message.text for message in reversed(said) if message.role == "user"), said[-1].text)


def _without_tools(data: Any) -> Any:
    for name, neutral in _TOOLS.items():
        if isinstance(data, dict) and name in data and data[name] not in neutral:
            raise RequestError("the models of this server call no tools", name, f"leave {name} out")
    return {name: value for name, value in data.items() if name not in _TOOLS} if isinstance(data, dict) else data
