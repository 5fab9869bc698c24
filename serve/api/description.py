"""The OpenAPI description: FastAPI's, with the refusals as they are and the key."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from serve.api.gate import OPEN


def describe(app: FastAPI, keys: bool) -> None:
    """Have an application describe itself.

    Args:
        app: with all its routes.
        keys: whether it asks for keys.
    """
    found: dict[str, Any] = {}

    def description() -> dict[str, Any]:
        if not found:
            found.update(_described(app, keys))
        return found

    app.openapi = description  # type: ignore[method-assign]


def _described(app: FastAPI, keys: bool) -> dict[str, Any]:
    about = "OpenAI's interface over a router and per-language experts. `model` is `auto` or an expert's name."
    whole = get_openapi(title=app.title, version=app.version, description=about, routes=app.routes)
    for path, methods in whole["paths"].items():
        for operation in methods.values():
            operation["responses"].pop("422", None)  # FastAPI's own; here it is a 400 in OpenAI's shape
            if keys and path not in OPEN:
                operation["security"] = [{"key": []}]
    schemas = whole.get("components", {}).get("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    if keys:
        whole["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return whole
