"""The application: every route over one backend."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from serve.api.backend import Backend
from serve.api.completions import completions
from serve.api.limits import MAX_BODY_BYTES, BodyLimit
from serve.api.refusals import add_handlers
from serve.api.schemas import Model, ModelList
from serve.messages import AUTO


def create_app(backend: Backend) -> FastAPI:
    """The application: completions, models, health; every error in OpenAI's shape."""
    app = FastAPI(title="MoME", docs_url=None, redoc_url=None)
    app.add_middleware(BodyLimit, limit=MAX_BODY_BYTES)
    add_handlers(app)
    app.include_router(completions(backend))

    @app.get("/v1/models")
    async def models() -> ModelList:
        return ModelList(data=[Model(id=name, created=backend.started) for name in (AUTO, *backend.experts)])

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "experts": list(backend.experts)}

    return app
