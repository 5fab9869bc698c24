"""Why a request is not answered, each with its HTTP status and its place in OpenAI's error object."""

from __future__ import annotations

from typing import ClassVar

from orchestrator.errors import ServingError


class RequestError(ServingError):
    """The request can't be answered as it is.

    Class attributes:
        status: HTTP status.
        kind, code, param: `type`, `code` and `param` of OpenAI's error object.
        retry_after_s: when to try again; None: not at all.
    """

    status: ClassVar[int] = 400
    kind: ClassVar[str] = "invalid_request_error"
    code: ClassVar[str | None] = None
    param: ClassVar[str | None] = None
    retry_after_s: ClassVar[int | None] = None


class EmptyPromptError(RequestError):
    """There is nothing to continue."""

    param = "prompt"


class ContextLengthError(RequestError):
    """Prompt and answer together are longer than the model's context. Nothing is cut silently."""

    code = "context_length_exceeded"
    param = "prompt"


class RejectedPromptError(RequestError):
    """The prompt is of no language that an expert knows, and the recipe says to refuse such prompts."""

    status = 422
    code = "prompt_rejected"
    param = "prompt"


class UnknownModelError(RequestError):
    """No expert of that name."""

    status = 404
    code = "model_not_found"
    param = "model"


class DeadlineError(RequestError):
    """The answer took longer than the server allows."""

    status = 504
    kind = "server_error"
    code = "timeout"


class OverloadedError(RequestError):
    """More requests are waiting than the server admits."""

    status = 429
    kind = "rate_limit_error"
    code = "overloaded"
    retry_after_s = 1


class ExpertUnavailableError(RequestError):
    """A replica is not there, or was lost while it answered."""

    status = 503
    kind = "server_error"
    code = "unavailable"
    retry_after_s = 1


class NotANumberError(RequestError):
    """The expert's numbers overflowed: asking again, or another replica, gives the same."""

    status = 500
    kind = "server_error"
    code = "not_a_number"


class AuthenticationError(RequestError):
    """No key, or none that is known."""

    status = 401
    kind = "authentication_error"
    code = "invalid_api_key"
