"""HTTP answered by an ingress itself, without a proxy before it: a hop and a process less on one machine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from orchestrator.errors import ServingError
from serve.api.limits import KEEP_ALIVE_S

_END_SECONDS = 2
"""For answers that are being sent when it ends."""
_LATE_SECONDS = 0.5
"""For requests of those who had just connected then."""


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
            timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=_END_SECONDS,
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
    """Signals are Ray's. Whom the kernel has connected when it ends, it answers: a listener that closes resets them."""

    def capture_signals(self) -> Any:
        """None of them."""
        return nullcontext()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own, once those who had connected are served."""
        late = [connection for listener in sockets or [] for connection in _connected(listener)]
        for server in self.servers:
            server.close()  # with nothing in between: whoever comes from here on is refused, or another ingress's
        for connection in late:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        if late:
            await asyncio.sleep(_LATE_SECONDS)
        await super().shutdown(sockets)

    def _protocol(self) -> Any:
        kind: Any = self.config.http_protocol_class
        return kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


def _connected(listener: socket.socket) -> Iterator[socket.socket]:
    with suppress(BlockingIOError):
        while True:
            yield listener.accept()[0]


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
