"""OpenAI's completions API as typed models: what a request may say, what an answer and an error look like.

Answers are made as plain dictionaries of these shapes: a model for each token would cost more than the token's way.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from serve.api import limits
from serve.api.fields import UNUSED, ChoiceFields, without_unsupported
from serve.errors import RequestError
from serve.messages import FinishReason, GenerationRequest, RouteReason

Text = Annotated[str, Field(min_length=1, max_length=limits.MAX_PROMPT_CHARACTERS)]
Token = Annotated[int, Field(ge=0, lt=2**31)]
Tokens = Annotated[list[Token], Field(min_length=1, max_length=limits.MAX_PROMPT_TOKENS)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=limits.MAX_PROMPTS)]

_UNSUPPORTED: dict[str, tuple[Any, ...]] = {"suffix": (None, ""), "user": (UNUSED,)}


class CompletionRequest(ChoiceFields):
    """Body of `POST /v1/completions`."""

    prompt: Text | Tokens | Texts | Annotated[list[Tokens], Field(min_length=1, max_length=limits.MAX_PROMPTS)]
    """One text or several, or their token ids, which are taken as they are: `/tokenize` gives them with <s>."""
    max_tokens: Annotated[int, Field(ge=0, le=limits.MAX_TOKENS)] | None = None
    """New tokens at most, for each choice; 16 where it is not given. 0, with `echo`: the prompt alone."""
    best_of: Annotated[int, Field(ge=1, le=limits.MAX_N)] | None = None
    """Answers of which the `n` with the highest mean log-probability are given; not in a stream."""
    echo: bool | None = None
    """Begin the answer with the prompt."""
    logprobs: Annotated[int, Field(ge=0, le=limits.MAX_LOGPROBS)] | None = None
    """Log-probabilities of the tokens, beside those of so many alternatives."""

    @model_validator(mode="before")
    @classmethod
    def _without_unsupported(cls, data: Any) -> Any:
        return without_unsupported(data, _UNSUPPORTED)

    @model_validator(mode="after")
    def _consistent(self) -> CompletionRequest:
        if len(self.prompts) * self.made > limits.MAX_CHOICES:
            raise RequestError(f"a request may ask for {limits.MAX_CHOICES} choices at most, prompts times n")
        if self.best_of is not None and self.best_of < (self.n or 1):
            raise RequestError("best_of must not be less than n", "best_of")
        if self.stream and self.made > (self.n or 1):
            raise RequestError("best_of can't be streamed: which answer is best is known at the end", "best_of")
        return self

    @property
    def made(self) -> int:
        """Answers to each prompt."""
        return max(self.n or 1, self.best_of or 1)

    @property
    def prompts(self) -> list[str | tuple[int, ...]]:
        """The prompts as a list."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [tuple(self.prompt)]  # type: ignore[arg-type]
        return [each if isinstance(each, str) else tuple(each) for each in self.prompt]  # type: ignore[arg-type]

    def generation_requests(self) -> list[list[GenerationRequest]]:
        """For each prompt, its requests to an engine."""
        ranked = self.made > (self.n or 1)
        how = self.chosen(
            self.constraint(),
            max_tokens=16 if self.max_tokens is None else self.max_tokens,
            **self.ending,
            echo=bool(self.echo),
            logprobs=0 if ranked and self.logprobs is None else self.logprobs,
        )
        return [[GenerationRequest(prompt, how, i) for i in range(self.made)] for prompt in self.prompts]


class RouteInfo(BaseModel):
    """Which expert answered and why.

    `reason` is "named" by the caller, "routed" by the router, "rejected": text of no language, which the recipe's
    policy sends here, or "mixed": all experts answer together (`model: soft`). `probabilities` are the router's of each
    language, `probability` that of this expert; null where the caller named it.
    """

    expert: str
    reason: RouteReason
    probability: float | None
    probabilities: dict[str, float] | None
    version: str


class Logprobs(BaseModel):
    """Of each token of an answer, as OpenAI's completions have them."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class Choice(BaseModel):
    """One continuation. `route` is ours, the rest OpenAI's."""

    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: FinishReason | None
    route: RouteInfo


class Usage(BaseModel):
    """Tokens read (each prompt once) and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionResponse(BaseModel):
    """Answer of `POST /v1/completions`; of a stream, each chunk; the first of a stream and of a choice have routes.

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
    max_model_len: int


class ModelList(BaseModel):
    """Answer of `GET /v1/models`: "auto" and what else is no expert, then every expert."""

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
    param = error.param or error.where or None
    return ErrorResponse(error=ErrorInfo(message=message, type=error.kind, param=param, code=error.code))
