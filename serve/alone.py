"""`mome serve RUN --local`: everything in one process without Ray, behind the same interface."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from orchestrator.errors import ServingError
from serve.api import Keys, check_exposure, create_app
from serve.api.gate import log_requests
from serve.api.limits import KEEP_ALIVE_S
from serve.local import LocalBackend
from serve.mixture import Mixture

QUEUE = 64
"""Requests that wait before an expert; more are refused."""
GRACE_S = 30
"""Running answers have so long to finish once the server is told to end."""


def serve_alone(
    run: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    precision: str = "fp32",
    keys: Path | None = None,
    log_prompts: bool = False,
) -> None:
    """Serve a run's mixture until Ctrl-C or SIGTERM.

    Args:
        run: run folder.
        host: address to listen at; one that other machines reach needs keys.
        port: port to listen at.
        precision: "fp32", "bf16" or "int8".
        keys: file of keys; None: none are asked for.
        log_prompts: lines in the log have the prompts.

    Raises:
        ArtifactError: the run is not finished, or an artifact is missing or damaged.
        ServingError: no keys where they are needed, the port is taken, or an expert's weights are not finite.
        ResourceError: traces are asked for, and OpenTelemetry is not installed.
    """
    known = None if keys is None else Keys(keys)
    check_exposure(host, known)
    mixture = Mixture.open(run, precision=precision)
    mixture.files.check()
    mixture.options = replace(mixture.options, queue=QUEUE)
    listener = _listen(host, port)
    lost: list[Exception] = []

    def fail(error: Exception) -> None:
        lost.append(error)
        server.should_exit = True

    app = application(LocalBackend(mixture), fail, known, log_prompts)
    log_requests()
    config = uvicorn.Config(
        app, log_level="warning", access_log=False,
        timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=GRACE_S,
    )  # fmt: skip
    print(f"serving at http://{host}:{listener.getsockname()[1]}/ (Ctrl-C ends it)", flush=True)
    if known is None:
        print("no API keys: everybody on this machine may ask (--keys FILE asks for one)", flush=True)
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):  # uvicorn raises again what it has obeyed
        server.run(sockets=[listener])
    if lost:
        raise lost[0]


def application(
    backend: LocalBackend, fail: Callable[[Exception], None], keys: Keys | None = None, log_prompts: bool = False
) -> FastAPI:
    """The application over a backend that loads its parts once serving has begun: `/ready` says when they are there.

    Args:
        backend: of this process.
        fail: told why a part can't be loaded.
        keys: who may ask; None: everybody.
        log_prompts: lines in the log have the prompts.
    """
    app = create_app(backend, keys, log_prompts)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(_load(backend, fail))
        yield
        loading.cancel()

    app.router.lifespan_context = lifespan
    return app


async def _load(backend: LocalBackend, fail: Callable[[Exception], None]) -> None:
    try:
        await asyncio.to_thread(backend.load)
    except Exception as error:
        fail(error)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # whoever comes between the line that says so and the server's start waits for it
    except OSError as error:
        listener.close()
        raise ServingError(
            f"can't listen at {host}:{port}: {error.strerror}", fix="choose another host or port"
        ) from None
    return listener
