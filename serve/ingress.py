"""The front door as a deployment: HTTP in, handles to the experts out. Imports no torch."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextvars import ContextVar
from uuid import uuid4

import ray
from prometheus_client.core import Metric
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from serve.api import Keys, create_app
from serve.api.backend import Grown
from serve.api.gate import log_requests
from serve.api.metrics import Metrics
from serve.deployments.draining import Draining
from serve.deployments.front import Front
from serve.deployments.lines import Exchange
from serve.deployments.migration import Migrating
from serve.deployments.registry import Registry, Table
from serve.deployments.served import Mixture, open_mixture
from serve.deployments.settings import ServeArguments
from serve.errors import RequestError
from serve.messages import Completion, Explanation, GenerationRequest, Route, Statistics

log = logging.getLogger("ray.serve")
_LOST_SECONDS = 1.0
_chosen: ContextVar[Mixture | None] = ContextVar("chosen", default=None)
"""The mixture that answers this request: what is served may change before it has."""


class Ingress:
    """The :class:`serve.api.Backend` over Ray Serve.

    What it serves is the keeper's to say, and may change at any time; a request is answered by what was served when it
    was routed.

    Args:
        keeper: says what is served.
        deployed: what this deployment of the endpoint is called; a keeper of an earlier one is not listened to.
        given: the endpoint's settings.
    """

    def __init__(self, keeper: DeploymentHandle, deployed: str, given: ServeArguments) -> None:
        self._keeper, self._deployed, self._name, self._given = keeper, deployed, uuid4().hex, given
        self.deadline_s, self.started = given.deadline_s, int(time.time())
        self._keys = None if given.keys is None else Keys(given.keys)
        self._metrics, self._exchange = Metrics(), Exchange()
        self._front: Front | None = None
        log_requests(given.access_log)
        self._registry: Registry | None = None
        self._opened: list[tuple[Table, Mixture]] = []
        self._known = asyncio.Event()
        self._following = asyncio.create_task(self._follow())

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        """Called by Serve once the replica is constructed."""
        await self._known.wait()
        listen = self._given.listen
        app = create_app(
            self, self._keys, self._given.log_prompts, send_request_ids=bool(listen), metrics=self._metrics
        )
        self._draining = Draining(app)
        if listen:
            self._front = Front(self._draining, listen)
        return self._draining

    async def check_health(self) -> None:
        """Asked by Serve every few seconds.

        Raises:
            RuntimeError: HTTP is not answered any more; Serve starts another replica.
        """
        if self._front is not None and not self._front.healthy:
            raise RuntimeError("the server of HTTP has ended")

    async def drain(self, seconds: float) -> int:
        """Refuse new requests with 503 and wait for those at work; how many are left after `seconds`."""
        left = await self._draining.drain(seconds)
        if self._front is not None and not left:
            await self._front.end()
        return left

    async def route(self, model: str, prompts: Sequence[str]) -> list[Route]:
        """See :meth:`serve.api.Backend.route`."""
        mixture = self._choose()
        _chosen.set(mixture)
        return await mixture.route(model, prompts)

    async def explain(self, texts: Sequence[str]) -> list[Explanation]:
        """See :meth:`serve.api.Backend.explain`."""
        return await self._mixture.explain(texts)

    async def generate(self, expert: str, requests: Sequence[GenerationRequest], seconds: float) -> list[Completion]:
        """See :meth:`serve.api.Backend.generate`."""
        return await Migrating(self._mixture.replicas(expert)).generate(requests, seconds)

    def stream(self, expert: str, requests: Sequence[GenerationRequest], seconds: float) -> AsyncIterator[Grown]:
        """See :meth:`serve.api.Backend.stream`."""
        return Migrating(self._mixture.replicas(expert)).stream(requests, seconds)

    async def tokenize(self, text: str, special: bool = False, begin: bool = False) -> list[int]:
        """See :meth:`serve.api.Backend.tokenize`."""
        return await self._mixture.tokenize(text, special, begin)

    async def detokenize(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """See :meth:`serve.api.Backend.detokenize`."""
        return await self._mixture.detokenize(sequences)

    async def ready(self) -> bool:
        """See :meth:`serve.api.Backend.ready`."""
        return not self._draining.refusing

    @property
    def full(self) -> bool:
        """See :class:`serve.api.Backend`."""
        return all(mixture.full for _, mixture in self._opened)

    async def statistics(self) -> Mapping[str, Sequence[Statistics]]:
        """See :meth:`serve.api.Backend.statistics`."""
        found = dict[str, list[Statistics]]()
        every = {
            (name, each.application): each for _, mixture in self._opened for name, each in mixture.deployed.items()
        }
        for (name, _), expert in every.items():
            found.setdefault(name, [])
            try:
                found[name] += await expert.statistics()
            except RequestError:
                log.warning("expert %s does not say how it does", name)
        return found

    async def counted(self) -> tuple[str, list[Metric]]:
        """Its name, and what it has counted."""
        return self._name, self._metrics.families()

    async def counted_elsewhere(self) -> Sequence[Sequence[Metric]]:
        """See :meth:`serve.api.Backend.counted_elsewhere`; of the other ingresses that answer within a second."""
        if self._given.ingress_replicas == 1:
            return ()
        own = serve.get_replica_context()
        every = serve.get_deployment_handle(own.deployment, own.app_name).broadcast("counted")
        found = await every.results_async(timeout_s=1, return_exceptions=True)
        return [
            families for name, families in (each for each in found if isinstance(each, tuple)) if name != self._name
        ]

    @property
    def _mixture(self) -> Mixture:
        return _chosen.get() or self._opened[0][1]

    def _choose(self) -> Mixture:
        assert self._registry is not None
        table = self._registry.choose(random.random())
        return next(mixture for known, mixture in self._opened if known is table)

    def _tell(self, mixture: Mixture) -> None:
        self.experts: Sequence[str] = tuple(mixture.experts)
        self.special: Sequence[str] = mixture.special
        self.version, self.context, self.chat = mixture.version, mixture.context, mixture.chat

    async def _open(self, table: Table) -> Mixture:
        for known, mixture in self._opened:
            if known == table:
                return mixture
        return await asyncio.to_thread(open_mixture, table, self._exchange, self._given.max_queued_requests)

    async def _follow(self) -> None:
        """Serve what the keeper says, whenever that changes."""
        await self._exchange.open(ray.util.get_node_ip_address())
        while True:
            try:
                known = self._registry.number if self._registry else 0
                registry: Registry = await self._keeper.registry.remote(self._name, known)
                if registry.deployed != self._deployed:
                    await asyncio.sleep(_LOST_SECONDS)
                elif registry.number != known:
                    self._opened = [(table, await self._open(table)) for table in registry.tables]
                    self._registry = registry
                    self._tell(self._opened[0][1])
                    self._known.set()
            except Exception:  # the keeper is lost, say, and begins anew: what is known stays served
                log.warning("what is served can't be learned", exc_info=True)
                await asyncio.sleep(_LOST_SECONDS)
