"""Responses that are no stream, and what the description says of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from serve.api.events import to_json
from serve.api.schemas import ErrorResponse

REFUSED: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorResponse, "description": "Refused: what was wrong, and what to do."},
    "5XX": {"model": ErrorResponse, "description": "Not now: lost, too late, or a fault of the server."},
}


def reply(body: Any, headers: Mapping[str, str] | None = None) -> Response:
    """A body as JSON. Half surrogate pairs, which a prompt may bring and JSON can't, become "?"."""
    return Response(to_json(body).encode("utf-8", "replace"), 200, headers, "application/json")
