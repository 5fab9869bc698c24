"""The application: every route over one backend."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from orchestrator import __version__
from serve.api.backend import Backend
from serve.api.chat import chat
from serve.api.completions import completions
from serve.api.description import describe
from serve.api.gate import Gate
from serve.api.keys import Keys
from serve.api.limits import MAX_BODY_BYTES, BodyLimit
from serve.api.metrics import CONTENT_TYPE, Metrics
from serve.api.pages import pages
from serve.api.refusals import add_handlers
from serve.api.replies import REFUSED, reply
from serve.api.responses import responses
from serve.api.schemas import Model, ModelList
from serve.api.texts import texts
from serve.api.tracing import Tracing
from serve.errors import ExpertUnavailableError


def create_app(
    backend: Backend,
    keys: Keys | None = None,
    log_prompts: bool = False,
    send_request_ids: bool = True,
    metrics: Metrics | None = None,
) -> FastAPI:
    """The application; every error in OpenAI's shape.

    Args:
        backend: what answers.
        keys: who may ask; None: everybody. See :func:`serve.api.check_exposure`.
        log_prompts: whether the lines of the logger "mome.access" have the prompts.
        metrics: where requests are counted; None: in some of its own.
        send_request_ids: put `x-request-id` into responses. False behind Ray Serve's proxy, which does so itself.

    Raises:
        ResourceError: traces are asked for, and OpenTelemetry is not installed.
    """
    app = FastAPI(title="MoME", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    metrics = metrics or Metrics()
    paths = cache(lambda: frozenset(app.openapi()["paths"]))
    app.add_middleware(BodyLimit, limit=MAX_BODY_BYTES)
    app.add_middleware(
        Gate,
        backend=backend,
        metrics=metrics,
        keys=keys,
        paths=paths,
        log_prompts=log_prompts,
        send_ids=send_request_ids,
        tracing=Tracing.of_environment(),
    )
    add_handlers(app)
    for part in (completions, chat, responses, texts):
        app.include_router(part(backend))
    _add_state(app, backend, metrics)
    app.include_router(pages())
    describe(app, keys is not None)
    return app


def _add_state(app: FastAPI, backend: Backend, metrics: Metrics) -> None:
    """What the server says of itself."""

    @app.get("/v1/models", tags=["state"], responses={200: {"model": ModelList}, **REFUSED})
    async def models() -> Response:
        """`auto` and what else is no expert, then every expert."""
        found = [
            Model(id=name, created=backend.started, max_model_len=backend.context)
            for name in (*backend.special, *backend.experts)
        ]
        return reply(ModelList(data=found).model_dump())

    @app.get("/v1/models/{name}", tags=["state"], responses={200: {"model": Model}, **REFUSED})
    async def model(name: str) -> Response:
        """One of them."""
        if name not in backend.special:
            await backend.route(name, ["-"])  # whoever does not know it says so
        return reply(Model(id=name, created=backend.started, max_model_len=backend.context).model_dump())

    @app.get("/health", tags=["state"])
    async def health() -> dict[str, Any]:
        """Whether this server answers at all. Needs no key."""
        return {"status": "ok", "experts": list(backend.experts), "version": backend.version}

    @app.get("/ready", tags=["state"], responses=REFUSED)
    async def ready() -> dict[str, str]:
        """Whether every part that answers is there; 503 until then. Needs no key."""
        if not await backend.ready():
            raise ExpertUnavailableError("not every part is there yet", fix="ask again in a moment")
        return {"status": "ready"}

    @app.get("/metrics", tags=["state"], responses={200: {"content": {"text/plain": {}}}, **REFUSED})
    async def told() -> Response:
        """Prometheus metrics."""
        text = metrics.text(await backend.statistics(), await backend.counted_elsewhere())
        return Response(text, headers={"content-type": CONTENT_TYPE})

    @app.get("/openapi.json", tags=["state"], responses=REFUSED)
    async def description(request: Request) -> dict[str, Any]:
        """The description of this interface."""
        return app.openapi() | {"servers": [{"url": request.scope.get("root_path") or "/"}]}
