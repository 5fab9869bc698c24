"""The one process that changes what is served: it deploys experts, tells every ingress, and ends what is not needed."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.experimental import internal_kv
from ray.serve.schema import LoggingConfig

from orchestrator.errors import MomeError, ServingError
from orchestrator.mixtures.versions import CURRENT, FOLDER
from serve.deployments.applications import Applications
from serve.deployments.registry import Registry, Table
from serve.deployments.settings import ServeArguments
from serve.files import MixtureFiles
from serve.messages import AUTO, SOFT
from serve.router import PromptRouter

log = logging.getLogger("ray.serve")
LOGGING = LoggingConfig(enable_access_log=False)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_LOST = re.compile(r"died|[Ff]ailed to update the deployments")
"""What Serve says where replicas were lost; an error of theirs has its own words."""
_POLL_SECONDS, _HEARD_SECONDS, _WAIT_SECONDS = 1.0, 45.0, 20.0


class Keeper:
    """What is served, and the only one to change it.

    An expert that is new starts beside the others and is told of once it runs. What fails before that changes nothing.

    Args:
        endpoint: name of the endpoint's application.
        arguments: its settings.
        deployed: tells this deployment of the endpoint from earlier ones, whose changes by hand are forgotten.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it: its own calls go on while experts start
        self, endpoint: str, arguments: ServeArguments, deployed: str
    ) -> None:
        self._endpoint, self._arguments, self._deployed = endpoint, arguments, deployed
        self._applications = Applications(endpoint, arguments, ray.cluster_resources())
        self._memory = _Memory(endpoint)
        self._changing, self._changed = asyncio.Lock(), asyncio.Condition()
        self._heard: dict[str, tuple[int, float]] = {}
        self._unused: dict[str, float] = {}
        self._registry = await asyncio.to_thread(self._begin)
        self._seen = self._current()
        self._watching = asyncio.create_task(self._watch())

    def _begin(self) -> Registry:
        """Go on where another keeper was lost, or begin."""
        before = self._memory.load()
        self._unused = dict.fromkeys(before.get("applications", ()), time.monotonic())
        if before.get("registry", {}).get("deployed") == self._deployed:
            registry = Registry.from_json(before["registry"])
        else:
            registry = Registry(self._deployed, 1, self._applications.table(MixtureFiles.of(self._arguments.run)))
        for table in registry.tables:
            self._deploy(table)
        self._remember(registry)
        return registry

    async def registry(self, ingress: str, known: int) -> Registry:
        """What is served, once that is not what the ingress knows already, or after some seconds.

        Args:
            ingress: who asks.
            known: number of what it serves by; 0: nothing yet.
        """
        async with self._changed:
            self._heard[ingress] = (known, time.monotonic())
            self._changed.notify_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(_WAIT_SECONDS):
                    await self._changed.wait_for(lambda: self._registry.number != known)
            return self._registry

    async def add(self, name: str, folder: Path) -> Registry:
        """Serve one expert more, or another one of that name.

        Raises:
            ServingError: it does not start or does not fit the mixture, or its name is none. ArtifactError: its files
                are damaged.
        """
        if name in (AUTO, SOFT):
            raise ServingError(
                f"an expert can't be called {name!r}: that is what requests call the mixture", fix="choose another name"
            )
        if not _NAME.fullmatch(name):
            raise ServingError(f"{name!r} is no name for an expert", fix="use letters, digits, - and _")
        if not folder.is_dir():
            raise ServingError(
                "there is no such folder", str(folder), "name an expert's folder that every node can read"
            )

        def with_newcomer() -> Table:
            table = self._sole()
            table.files.check_newcomer(folder)
            return table.with_expert(name, self._applications.expert(name, folder))

        return await self._change(with_newcomer)

    async def remove(self, name: str) -> Registry:
        """Serve an expert no longer; its running answers finish.

        Raises:
            ServingError: there is none of that name, or no other.
        """
        return await self._change(lambda: self._sole().without(name))

    async def use(self, version: int | None = None, percent: float = 100.0) -> Registry:
        """Serve a version of the mixture; with less than 100 percent, beside the one that is served.

        Args:
            version: its number; None: the run's current one.
            percent: of the requests.

        Raises:
            ArtifactError: there is none, or it is damaged. ServingError: an expert of it does not start.
        """
        if not 0 < percent <= 100:
            raise ServingError("percent must be above 0 and at most 100", fix="leave it out to serve all requests")
        files = await asyncio.to_thread(MixtureFiles.of, self._arguments.run, version)
        if files.version == self._registry.table.version and self._registry.canary is None:
            return self._registry
        return await self._change(lambda: self._applications.table(files), percent)

    async def status(self) -> dict[str, Any]:
        """What is served, as plain data: the registry, and each application with its status and replicas."""
        there = (await asyncio.to_thread(serve.status)).applications
        states = {
            name: {"status": str(application.status.value), "replicas": replicas}
            for name, application in there.items()
            if name.startswith(f"{self._endpoint}-")
            for replicas in [sum(d.replica_states.get("RUNNING", 0) for d in application.deployments.values())]
        }
        return {**self._registry.to_json(), "run": str(self._arguments.run), "applications": states}

    def _sole(self) -> Table:
        if self._registry.canary is not None:
            raise ServingError("two versions are being served", fix="choose one first: mome serve use RUN VERSION")
        return self._registry.table

    async def _change(self, table: Callable[[], Table], percent: float = 100.0) -> Registry:
        async with self._changing:
            wanted = self._applications.completed(await asyncio.to_thread(table))
            await asyncio.to_thread(PromptRouter, wanted.tokenizer, wanted.router, tuple(wanted.experts))
            await asyncio.to_thread(self._deploy, wanted)
            registry = self._registry.using(wanted, percent)
            await asyncio.to_thread(self._remember, registry)
            async with self._changed:
                self._registry = registry
                self._changed.notify_all()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_WAIT_SECONDS):
                        await self._changed.wait_for(lambda: self._all_know(registry.number))
            return registry

    def _all_know(self, number: int) -> bool:
        recent = time.monotonic() - _HEARD_SECONDS
        return all(known >= number for known, when in self._heard.values() if when > recent)

    def _deploy(self, table: Table) -> None:
        """Start what does not run yet, and wait until it does.

        Raises:
            ServingError: some of it does not; all of that is gone again.
        """
        failed = ("DEPLOY_FAILED", "DELETING")
        there = {name for name, facts in serve.status().applications.items() if facts.status.value not in failed}
        new = {name: each for name, each in self._applications.build(table).items() if name not in there}
        reason = self._started(new) if new else ""
        if _LOST.search(reason):  # Serve gives up an application whose first replicas are killed, say by a lost node
            reason = self._started(new)
        if reason:
            raise ServingError(f"it does not start: {reason}", fix="nothing was changed")

    @staticmethod
    def _started(new: dict[str, serve.Application]) -> str:
        """Why applications don't start, of which nothing is left then; empty: they do."""
        try:
            serve.run_many([serve.RunTarget(each, name, None, LOGGING) for name, each in new.items()])
        except Exception as error:
            log.warning("what was to be served does not start", exc_info=error)
            failed = [facts for name, facts in serve.status().applications.items() if name in new]
            reasons = [each.message for facts in failed for each in (*facts.deployments.values(), facts)]
            for name in new:
                with suppress(Exception):
                    serve.delete(name)
            return _reason(*reasons, str(error))
        return ""

    def _remember(self, registry: Registry) -> None:
        for name in list(self._unused):
            if name in registry.applications:
                del self._unused[name]
        if hasattr(self, "_registry"):
            self._unused |= dict.fromkeys(self._registry.applications - registry.applications, time.monotonic())
        applications = sorted(registry.applications | set(self._unused))
        self._memory.save({"registry": registry.to_json(), "applications": applications})

    async def _watch(self) -> None:
        """Follow the run's current version, and end what has been out of use for long enough."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            await _logged(self._follow)
            await _logged(self._end_unused)

    async def _follow(self) -> None:
        if self._arguments.follow and (now := self._current()) != self._seen:
            self._seen = now
            log.info("the run's current version has changed")
            await self.use()

    async def _end_unused(self) -> None:
        for name, since in list(self._unused.items()):
            if time.monotonic() - since > self._arguments.keep_s:
                async with self._changing:
                    if name in self._unused:
                        await asyncio.to_thread(serve.delete, name)
                        del self._unused[name]
                        await asyncio.to_thread(self._remember, self._registry)

    def _current(self) -> int | None:
        with suppress(OSError):
            return (self._arguments.run / FOLDER / CURRENT).stat().st_mtime_ns
        return None

    def __del__(self) -> None:
        """Take the experts along where the endpoint is deleted, and not only this process ended."""
        with suppress(Exception):
            facts = serve.status().applications.get(self._endpoint)
            if facts is None or facts.status.value == "DELETING":
                for name in {*self._registry.applications, *self._unused}:
                    serve.delete(name, _blocking=False)
                self._memory.forget()


class _Memory:
    """What outlives a keeper: kept by Ray, where Serve keeps what it has deployed."""

    def __init__(self, endpoint: str) -> None:
        self._key = f"mome-serve:{endpoint}".encode()

    def load(self) -> dict[str, Any]:
        """What was saved; empty: nothing."""
        data = internal_kv._internal_kv_get(self._key)
        return json.loads(data) if data else {}

    def save(self, data: dict[str, Any]) -> None:
        """In the place of what was saved before."""
        internal_kv._internal_kv_put(self._key, json.dumps(data).encode(), overwrite=True)

    def forget(self) -> None:
        """Whatever was saved."""
        internal_kv._internal_kv_del(self._key)


async def _logged(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except MomeError as error:
        log.error("what is served stays as it is: %s", error)
    except Exception:  # the controller is away, say: the next round tries again
        log.exception("what is served could not be looked after")


def _reason(*messages: str) -> str:
    """The error's own line in what Serve tells of it, a traceback, and of what file or folder it is."""
    for message in messages:
        found = re.findall(r"^\s*(?:\w+\.)*(\w*Error: .+)$(?:\n\s*where: (.+)$)?", message, re.MULTILINE)
        if found:
            what, where = found[-1]
            return f"{what} ({where})" if where else str(what)
    return messages[-1].strip().splitlines()[0]
