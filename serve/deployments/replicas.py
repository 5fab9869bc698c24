"""An application of Serve as the replicas of an expert: its faults become the errors that requests know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from serve.api.backend import Grown
from serve.deployments.lines import Exchange
from serve.deployments.pool import Pool
from serve.deployments.registry import Served
from serve.deployments.waiting import Mailbox, Whole
from serve.errors import ExpertUnavailableError, OverloadedError, RequestError
from serve.messages import Completion, GenerationRequest, Statistics


class Deployed:
    """The replicas of an expert's application; see :class:`serve.deployments.migration.Replicas`.

    Args:
        application: its name.
        handle: of its deployment.
        exchange: of the ingress.
        most: requests that wait for a replica.
        within: the expert's name in an application that has several.
    """

    def __init__(
        self, application: str, handle: DeploymentHandle, exchange: Exchange, most: int, within: str = ""
    ) -> None:
        self.application, self._handle, self._within = application, handle, within
        self._pool = Pool(exchange, lambda where: call(handle.attend, where, within), most)

    @classmethod
    def of(cls, served: Served, exchange: Exchange, most: int) -> Deployed:
        """As the keeper says."""
        handle = serve.get_app_handle(served.application)
        return cls(served.application, handle, exchange, most, served.within)

    @property
    def full(self) -> bool:
        """Whether too many requests wait."""
        return self._pool.full

    async def generate(self, requests: Sequence[GenerationRequest], seconds: float) -> list[Completion]:
        """See :class:`serve.deployments.migration.Replicas`."""
        whole = Whole()
        ticket = self._pool.ask(requests, seconds, whole)
        try:
            return await whole.answers
        finally:
            self._pool.forget(ticket)

    async def stream(self, requests: Sequence[GenerationRequest], seconds: float) -> AsyncIterator[Grown]:
        """See :class:`serve.deployments.migration.Replicas`."""
        mailbox = Mailbox(len(requests))
        ticket = self._pool.ask(requests, seconds, mailbox)
        try:
            async for grown in mailbox:
                yield grown
        finally:
            self._pool.forget(ticket)

    async def statistics(self) -> list[Statistics]:
        """Of every replica that runs."""
        try:
            found = await self._handle.broadcast("statistics", self._within).results_async(
                timeout_s=5, return_exceptions=True
            )
            return [each for each in found if isinstance(each, Statistics)]  # a replica may be lost meanwhile
        except Exception as error:
            raise told(error) from error


async def call(method: Any, *arguments: Any) -> Any:
    """Call a deployment.

    Raises:
        RequestError: refused, overloaded or lost.
    """
    response = method.remote(*arguments)
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()  # Serve does so for clients that it sees go, and some can't be seen by it
        raise
    except Exception as error:
        raise told(error) from error


def told(error: Exception) -> Exception:
    """What callers are told: a deployment's refusals as they are, everything that is the cluster's as 503."""
    if isinstance(error, RequestError):
        return getattr(error, "cause", error)  # Ray wraps it in a class of its own; the plain one is enough
    if isinstance(error, BackPressureError):
        return OverloadedError("too many requests are waiting", fix="try again in a moment")
    lost = isinstance(error, RayError | RayServeException)
    if lost and isinstance(getattr(error, "cause", None), RayError | None):
        return ExpertUnavailableError("the expert was lost while it answered", fix="try again in a moment")
    return error  # a bug, not a lost replica
