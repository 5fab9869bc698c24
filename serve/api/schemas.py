"""OpenAI's completions API as typed models: what a request may say, what an answer and an error look like."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serve.errors import RequestError
from serve.messages import FinishReason, GenerationRequest, Route, Sampling

MAX_PROMPTS = 32
MAX_CHOICES = 64
MAX_PROMPT_CHARACTERS = 200_000
MAX_STOP_CHARACTERS = 256

Prompt = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]
Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]

# OpenAI's parameters that this server does not serve: only these values, which change nothing, are accepted.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (None, 1),
    "echo": (None, False),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "logit_bias": (None, {}),
    "logprobs": (None,),
    "suffix": (None, ""),
}


class StreamOptions(BaseModel):
    """Of a stream."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    include_usage: bool = False
    """End with a chunk that has no choices and says how many tokens were read and written."""


class CompletionRequest(BaseModel):
    """Body of `POST /v1/completions`. Types are strict and unknown parameters are refused, as OpenAI does."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    model: Annotated[str, Field(min_length=1, max_length=256)] = "auto"
    """"auto" for the router's choice, or an expert's name."""
    prompt: Prompt | Annotated[list[Prompt], Field(min_length=1, max_length=MAX_PROMPTS)]
    """One text or several. Token ids are not accepted: they mean nothing without the run's tokenizer."""
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """New tokens at most, for each choice; 16 where it is not given, as with OpenAI."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """0 is greedy; 1 where it is not given."""
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Nucleus; 1, all tokens, where it is not given."""
    n: Annotated[int, Field(ge=1, le=16)] | None = None
    """Choices for each prompt; 1 where it is not given."""
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    """Texts to stop at."""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    """For the same answer again."""
    stream: bool | None = None
    """Send the answer as it grows, as server-sent events."""
    stream_options: StreamOptions | None = None
    """Of a stream."""
    user: str | None = None
    """Accepted, unused."""

    @model_validator(mode="before")
    @classmethod
    def _without_neutral(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for name, neutral in _NEUTRAL.items():
            if name in data and data[name] not in neutral:
                raise ValueError(f"{name} is not supported by this server")
        return {name: value for name, value in data.items() if name not in _NEUTRAL}

    @model_validator(mode="after")
    def _few_enough(self) -> CompletionRequest:
        if len(self.prompts) * (self.n or 1) > MAX_CHOICES:
            raise ValueError(f"a request may ask for {MAX_CHOICES} choices at most, prompts times n")
        return self

    @property
    def prompts(self) -> list[str]:
        """The prompts as a list."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    def generation_requests(self) -> list[list[GenerationRequest]]:
        """For each prompt, its `n` requests to an engine."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        sampling = Sampling(
            max_tokens=self.max_tokens or 16,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            stop=stop,
            seed=self.seed,
        )
        return [[GenerationRequest(prompt, sampling, i) for i in range(self.n or 1)] for prompt in self.prompts]


class RouteInfo(BaseModel):
    """Which expert answered, and the router's probability of each language (null where the caller named the expert)."""

    expert: str
    probabilities: dict[str, float] | None

    @classmethod
    def of(cls, route: Route) -> RouteInfo:
        """What a route says."""
        return cls(expert=route.expert, probabilities=route.probabilities and dict(route.probabilities))


class Choice(BaseModel):
    """One continuation. `route` is ours, the rest OpenAI's."""

    index: int
    text: str
    finish_reason: FinishReason | None
    logprobs: None = None
    route: RouteInfo


class Usage(BaseModel):
    """Tokens read (each prompt once) and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, read: int, written: int) -> Usage:
        """With their sum."""
        return cls(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


class CompletionResponse(BaseModel):
    """Answer of `POST /v1/completions`; of a stream, each chunk.

    `model` is the expert that answered, or "auto" where several did. `route` is the first prompt's; every choice has
    its own.
    """

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None
    route: RouteInfo


class Model(BaseModel):
    """An entry of `GET /v1/models`."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["mome"] = "mome"


class ModelList(BaseModel):
    """Answer of `GET /v1/models`: "auto", then every expert."""

    object: Literal["list"] = "list"
    data: list[Model]


class ErrorInfo(BaseModel):
    """OpenAI's error object."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorResponse(BaseModel):
    """Body of every answer that is not a success."""

    error: ErrorInfo


def error_response(error: RequestError) -> ErrorResponse:
    """A refused request in OpenAI's shape."""
    message = f"{error.what}. {error.fix[:1].upper()}{error.fix[1:]}".strip() if error.fix else error.what
    return ErrorResponse(error=ErrorInfo(message=message, type=error.kind, param=error.param, code=error.code))
