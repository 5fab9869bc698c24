"""The pages at `/` and `/docs`: files of this package, the same for everybody. They load nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from importlib import resources

from fastapi import APIRouter, Request
from starlette.responses import Response

_TYPES = {"page.js": "text/javascript", "docs.js": "text/javascript", "page.css": "text/css"}
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'self'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def pages() -> APIRouter:
    """The routes."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def page(request: Request) -> Response:
        return _page("index.html", request)

    @router.get("/docs")
    async def docs(request: Request) -> Response:
        return _page("docs.html", request)

    @router.get("/page/{name}")
    async def part(name: str) -> Response:
        if name not in _TYPES:  # names never reach the file system
            return Response(status_code=404)
        return Response(_file(name), 200, _HEADERS, _TYPES[name])

    return router


def _page(name: str, request: Request) -> Response:
    base = f"{request.scope.get('root_path', '')}/"
    return Response(_file(name).replace("{base}", base), 200, _HEADERS, "text/html")


@cache
def _file(name: str) -> str:
    return resources.files("serve.api").joinpath("page", name).read_text("utf-8")
