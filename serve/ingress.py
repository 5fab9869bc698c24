"""The front door as a deployment: HTTP in, handles to the router and the experts out. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from serve.api import Keys, create_app
from serve.api.backend import Grown
from serve.chat import ChatTemplate
from serve.errors import ExpertUnavailableError, OverloadedError, RequestError
from serve.files import unknown_model
from serve.messages import AUTO, Completion, Explanation, GenerationRequest, Route, Statistics


class Ingress:
    """The :class:`serve.api.Backend` over Ray Serve.

    The experts are fixed when the application is deployed. Adding one without a restart takes an application for each
    expert and a registry given to `reconfigure`; :attr:`experts` is all that has to change.
    """

    def __init__(
        self,
        router: DeploymentHandle,
        experts: Mapping[str, DeploymentHandle],
        deadline_s: float,
        version: str = "0",
        context: int = 0,
        chat: ChatTemplate | None = None,
        keys: Path | None = None,
    ) -> None:
        self._router = router
        self._experts = dict(experts)
        self.experts: Sequence[str] = tuple(experts)
        self.started = int(time.time())
        self.deadline_s, self.version = deadline_s, version
        self.context, self.chat = context, chat or ChatTemplate()
        self._keys = keys

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve once the replica is constructed."""
        return create_app(self, None if self._keys is None else Keys(self._keys), send_request_ids=False)

    async def route(self, model: str, prompts: Sequence[str]) -> list[Route]:
        """See :meth:`serve.api.Backend.route`."""
        if model != AUTO:
            if model not in self._experts:
                raise unknown_model(model, self._experts)
            return [Route(model)] * len(prompts)
        routes: list[Route] = await _call(self._router.route, prompts)
        return routes

    async def generate(self, expert: str, requests: Sequence[GenerationRequest], seconds: float) -> list[Completion]:
        """See :meth:`serve.api.Backend.generate`."""
        completions: list[Completion] = await _call(self._experts[expert].generate, requests, seconds)
        return completions

    async def stream(self, expert: str, requests: Sequence[GenerationRequest], seconds: float) -> AsyncIterator[Grown]:
        """See :meth:`serve.api.Backend.stream`."""
        handle = self._experts[expert].options(stream=True)
        try:
            async for grown in handle.stream.remote(requests, seconds):
                yield grown
        except Exception as error:
            raise _told(error) from error

    async def explain(self, texts: Sequence[str]) -> list[Explanation]:
        """See :meth:`serve.api.Backend.explain`."""
        found: list[Explanation] = await _call(self._router.explain, texts)
        return found

    async def tokenize(self, text: str, special: bool = False, begin: bool = False) -> list[int]:
        """See :meth:`serve.api.Backend.tokenize`."""
        tokens: list[int] = await _call(self._router.tokenize, text, special, begin)
        return tokens

    async def detokenize(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """See :meth:`serve.api.Backend.detokenize`."""
        found: list[str] = await _call(self._router.detokenize, sequences)
        return found

    async def ready(self) -> bool:
        """See :meth:`serve.api.Backend.ready`."""
        return True

    async def statistics(self) -> Mapping[str, Sequence[Statistics]]:
        """See :meth:`serve.api.Backend.statistics`."""
        return {}


async def _call(method: Any, *arguments: Any) -> Any:
    """Call a deployment.

    Raises:
        RequestError: refused, overloaded or lost.
    """
    try:
        return await method.remote(*arguments)
    except Exception as error:
        raise _told(error) from error


def _told(error: Exception) -> Exception:
    """What callers are told: a deployment's refusals as they are, everything that is the cluster's as 503."""
    if isinstance(error, RequestError):
        return getattr(error, "cause", error)  # Ray wraps it in a class of its own; the plain one is enough
    if isinstance(error, BackPressureError):
        return OverloadedError("too many requests are waiting", fix="try again in a moment")
    lost = isinstance(error, RayError | RayServeException)
    if lost and isinstance(getattr(error, "cause", None), RayError | None):
        return ExpertUnavailableError("the expert was lost while it answered", fix="try again in a moment")
    return error  # a bug, not a lost replica
