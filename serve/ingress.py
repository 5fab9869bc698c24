"""The front door as a deployment: HTTP in, handles to the router and the experts out. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from serve.api import create_app
from serve.errors import ExpertUnavailableError, OverloadedError, RequestError
from serve.files import unknown_model
from serve.messages import AUTO, Completion, GenerationRequest, Route


class Ingress:
    """The :class:`serve.api.Backend` over Ray Serve.

    The experts are fixed when the application is deployed. Adding one without a restart takes an application for each
    expert and a registry given to `reconfigure`; :attr:`experts` is all that has to change.
    """

    def __init__(self, router: DeploymentHandle, experts: Mapping[str, DeploymentHandle], deadline_s: float) -> None:
        self._router = router
        self._experts = dict(experts)
        self.experts: Sequence[str] = tuple(experts)
        self.started = int(time.time())
        self.deadline_s = deadline_s

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve once the replica is constructed."""
        return create_app(self)

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


async def _call(method: Any, *arguments: Any) -> Any:
    """Call a deployment; its refusals come through as they are, everything that is the cluster's becomes 503.

    Raises:
        RequestError: refused, overloaded or lost.
    """
    try:
        return await method.remote(*arguments)
    except RequestError as error:
        raise getattr(error, "cause", error) from None  # Ray wraps it in a class of its own; the plain one is enough
    except BackPressureError:
        raise OverloadedError("too many requests are waiting", fix="try again in a moment") from None
    except (RayError, RayServeException) as error:
        if (cause := getattr(error, "cause", None)) is not None and not isinstance(cause, RayError):
            raise  # a bug in a deployment, not a lost replica
        raise ExpertUnavailableError("the expert was lost while it answered", fix="try again in a moment") from error
