"""HTTP answered by an ingress itself, without a proxy before it: a hop and a process less on one machine."""

from __future__ import annotations

import asyncio
import socket
from contextlib import nullcontext
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from orchestrator.errors import ServingError

_END_SECONDS = 2
"""For answers that are being sent when it ends."""


class Front:
    """A server of HTTP on the event loop of an ingress.

    Several ingresses of one machine listen at the same port: the kernel gives each connection to one of them.

    Args:
        app: what answers.
        listen: "host:port".

    Raises:
        ServingError: the port is taken.
    """

    def __init__(self, app: ASGIApp, listen: str) -> None:
        self._listener = _listener(listen)
        # Ray's loggers stay as they are; requests have their own lines.
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", proxy_headers=False,
            timeout_graceful_shutdown=_END_SECONDS,
        )  # fmt: skip
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))

    @property
    def healthy(self) -> bool:
        """Whether it answers, or has ended as it was told to."""
        return self._server.should_exit or not self._serving.done()

    async def end(self) -> None:
        """Take no more connections, and end those that there are, each after what it is being answered."""
        self._server.should_exit = True
        await self._serving


class _Server(uvicorn.Server):
    """Signals are Ray's."""

    def capture_signals(self) -> Any:
        """None of them."""
        return nullcontext()


def _listener(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind((host, int(port)))
    except (OSError, ValueError) as error:
        made.close()
        raise ServingError(f"can't listen at {listen}: {error}", fix="choose another host or port") from None
    return made
