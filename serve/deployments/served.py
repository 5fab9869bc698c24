"""A mixture as an ingress sees it: routed here or by a deployment, answered by the experts' applications."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ray import serve
from ray.serve.handle import DeploymentHandle

from serve.chat import ChatTemplate
from serve.deployments.lines import Exchange
from serve.deployments.migration import persistently
from serve.deployments.registry import Table
from serve.deployments.replicas import Deployed, call
from serve.errors import RequestError
from serve.files import unknown_model
from serve.messages import ALONE, AUTO, SOFT, Explanation, Route
from serve.router import PromptRouter

_SHORT = 10_000
"""Characters that are read on the event loop: a thread's way there and back costs more."""


_ROUTING_SECONDS = 30.0


class Router(Protocol):
    """What routes, and knows the tokenizer."""

    async def route(self, prompts: Sequence[str], model: str) -> list[Route]:
        """What the router says of each prompt; see :meth:`serve.router.PromptRouter.route`."""

    async def explain(self, texts: Sequence[str]) -> list[Explanation]:
        """What speaks for it."""

    async def tokenize(self, text: str, special: bool, begin: bool) -> list[int]:
        """Ids of a text."""

    async def detokenize(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """Texts of ids."""


@dataclass(frozen=True)
class Mixture:
    """One version of a mixture at work.

    Attributes:
        version: its name. context: longest prompt and answer together, in tokens.
        chat: how conversations are written.
        experts: by name. router: its own.
        special: model names that are no expert's.
        mixed: all experts together; None: they are not mixed here.
    """

    version: str
    context: int
    chat: ChatTemplate
    experts: Mapping[str, Deployed]
    router: Router
    special: Sequence[str] = (AUTO,)
    mixed: Deployed | None = None

    @property
    def deployed(self) -> Mapping[str, Deployed]:
        """Whatever answers, by its name."""
        return dict(self.experts) | ({SOFT: self.mixed} if self.mixed else {})

    @property
    def full(self) -> bool:
        """Whether too many requests wait for every expert."""
        return all(each.full for each in self.experts.values())

    def replicas(self, expert: str) -> Deployed:
        """Of an expert.

        Raises:
            UnknownModelError: there is none of that name.
        """
        try:
            return self.deployed[expert]
        except KeyError:
            raise unknown_model(expert, self.experts) from None

    async def route(self, model: str, prompts: Sequence[str]) -> list[Route]:
        """See :meth:`serve.api.Backend.route`."""
        if model == SOFT and self.mixed is None:
            what = "this endpoint does not mix its experts token by token"
            raise RequestError(what, "model", "ask for auto, or serve with soft=true")
        if model in (AUTO, ALONE, SOFT):
            return [replace(route, version=self.version) for route in await self.router.route(prompts, model)]
        self.replicas(model)
        return [Route(model, version=self.version)] * len(prompts)

    async def explain(self, texts: Sequence[str]) -> list[Explanation]:
        """See :meth:`serve.api.Backend.explain`."""
        return await self.router.explain(texts)

    async def tokenize(self, text: str, special: bool, begin: bool) -> list[int]:
        """See :meth:`serve.api.Backend.tokenize`."""
        return await self.router.tokenize(text, special, begin)

    async def detokenize(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """See :meth:`serve.api.Backend.detokenize`."""
        return await self.router.detokenize(sequences)


def open_mixture(table: Table, exchange: Exchange, most: int) -> Mixture:
    """Load what an ingress needs of a mixture: no expert.

    Args:
        table: what is served.
        exchange: where replicas connect to.
        most: requests that wait before an expert.

    Raises:
        ArtifactError: the router, or an expert's configuration, is damaged.
    """
    files = table.files
    router: Router = (
        _Remote(serve.get_app_handle(table.routing))
        if table.routing
        else _Inline(PromptRouter(table.tokenizer, table.router, tuple(table.experts)))
    )
    experts = {name: Deployed.of(each, exchange, most) for name, each in table.experts.items()}
    mixed = Deployed.of(table.mixed, exchange, most) if table.mixed else None
    special = [name for name in files.special if name != SOFT or mixed]
    return Mixture(table.version, files.context, ChatTemplate.of(table.tokenizer), experts, router, special, mixed)


class _Inline:
    """The router in this process."""

    def __init__(self, router: PromptRouter) -> None:
        self._router = router

    async def route(self, prompts: Sequence[str], model: str) -> list[Route]:
        if sum(map(len, prompts)) < _SHORT:
            return self._router.route(prompts, model)
        return await asyncio.to_thread(self._router.route, prompts, model)

    async def explain(self, texts: Sequence[str]) -> list[Explanation]:
        return await asyncio.to_thread(self._router.explain, texts)

    async def tokenize(self, text: str, special: bool, begin: bool) -> list[int]:
        if len(text) < _SHORT:
            return self._router.tokenizer.encode(text, special, begin)
        return await asyncio.to_thread(self._router.tokenizer.encode, text, special, begin)

    async def detokenize(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        return [self._router.tokenizer.decode(tokens) for tokens in sequences]


class _Remote:
    """The router as a deployment."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def _ask(self, method: Any, *arguments: Any) -> Any:
        return await persistently(lambda _: call(method, *arguments), _ROUTING_SECONDS)

    async def route(self, prompts: Sequence[str], model: str) -> list[Route]:
        routes: list[Route] = await self._ask(self._handle.route, prompts, model)
        return routes

    async def explain(self, texts: Sequence[str]) -> list[Explanation]:
        found: list[Explanation] = await self._ask(self._handle.explain, texts)
        return found

    async def tokenize(self, text: str, special: bool, begin: bool) -> list[int]:
        tokens: list[int] = await self._ask(self._handle.tokenize, text, special, begin)
        return tokens

    async def detokenize(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        texts: list[str] = await self._ask(self._handle.detokenize, sequences)
        return texts
