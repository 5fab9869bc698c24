"""What every request passes: its id, its key, the count and the line in the log, and the answer to a fault of ours."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.errors import ServingError
from serve.api.backend import Backend
from serve.api.keys import Keys
from serve.api.metrics import Metrics
from serve.api.record import KEY, Record
from serve.api.refusals import CLOSED, refusal
from serve.api.tracing import Tracing
from serve.errors import AuthenticationError, OverloadedError

OPEN = ("/health", "/ready", "/", "/docs", "/page/page.js", "/page/docs.js", "/page/page.css")
"""Paths that need no key: whether the server is there, and pages that are the same for everybody."""
ANSWERS = ("/v1/completions", "/v1/chat/completions", "/v1/responses")
"""Paths whose requests experts answer."""
_ID = re.compile(r"[\x21-\x7e]{1,128}")
log = logging.getLogger("mome.access")


def log_requests(file: Path | None = None) -> None:
    """Have a line of JSON written for each request: to the standard error, or after what a file has.

    Raises:
        ServingError: the file can't be written.
    """
    handler = logging.StreamHandler(sys.stderr) if file is None else _to(file)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)


def check_log(file: Path) -> None:
    """Make sure that requests can be logged to a file.

    Raises:
        ServingError: they can't.
    """
    _to(file).close()


def _to(file: Path) -> logging.FileHandler:
    try:
        return logging.FileHandler(file, encoding="utf-8")
    except OSError as error:
        what = f"requests can't be logged there: {error.strerror}"
        raise ServingError(what, str(file), "name a file, in a folder that is there") from None


class Gate:
    """ASGI middleware.

    Args:
        app: behind it.
        backend: behind it.
        metrics: where requests are counted.
        keys: who may ask; None: everybody.
        paths: of the application; others are counted together.
        log_prompts: whether lines in the log have the prompts.
        send_ids: put `x-request-id` into responses; a proxy may do so itself.
        tracing: where spans go.
    """

    def __init__(
        self,
        app: ASGIApp,
        backend: Backend,
        metrics: Metrics,
        keys: Keys | None,
        paths: Callable[[], frozenset[str]],
        log_prompts: bool,
        send_ids: bool,
        tracing: Tracing,
    ) -> None:
        self._app, self._backend, self._metrics, self._keys, self._paths = app, backend, metrics, keys, paths
        self._log_prompts, self._send_ids, self._tracing = log_prompts, send_ids, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = scope["method"]  # a HEAD is answered as a GET, and whoever sends the answer leaves its body out
        scope = {**scope, "method": "GET" if asked == "HEAD" else asked}
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        record = Record(self._metrics, given if _ID.fullmatch(given) else uuid.uuid4().hex)
        scope[KEY] = record
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        status = 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._send_ids:
                    message["headers"] = [*message["headers"], (b"x-request-id", record.id.encode())]
            await send(message)

        self._metrics.running.inc()
        with self._tracing.span(asked, path, headers, record):
            try:
                if self._keys is not None and path not in OPEN:
                    record.fields["key"] = self._keys.check(headers.get("authorization"))
                if path in ANSWERS and self._backend.full:
                    raise OverloadedError("too many requests are waiting", fix="try again in a moment")
                await self._app(scope, receive, sent)
            except (AuthenticationError, OverloadedError) as error:
                await refusal(error, record)(scope, receive, sent)
            except Exception as error:  # a fault of ours: its trace is in the log alone
                response = refusal(error, record)
                if not status:
                    await response(scope, receive, sent)
            finally:
                self._end(scope, asked, path, status or CLOSED, record)

    def _end(self, scope: Scope, asked: str, path: str, status: int, record: Record) -> None:
        seconds, named = time.perf_counter() - record.begun, getattr(scope.get("route"), "path", path)
        known = named if named in self._paths() else "other"  # so that nobody can make more labels
        record.fields["status"] = status
        self._metrics.running.dec()
        self._metrics.requests.labels(known, str(status)).inc()
        self._metrics.seconds.labels(known).observe(seconds)
        if record.code:
            self._metrics.refusals.labels(record.code).inc()
        if log.isEnabledFor(logging.INFO):
            log.info("%s", json.dumps(self._line(asked, path, seconds, record)))

    def _line(self, method: str, path: str, seconds: float, record: Record) -> dict[str, Any]:
        line = {"time": round(time.time(), 3), "request_id": record.id, "method": method, "path": path[:256]}
        usage = {name: count for name, count in record.usage.items() if count and name != "total_tokens"}
        line |= {**record.fields, **usage, "seconds": round(seconds, 6)}
        if record.code:
            line["code"] = record.code
        if self._log_prompts and record.prompts:
            line["prompts"] = list(record.prompts)
        return line
