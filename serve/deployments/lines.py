"""Connections between an ingress and the replicas of experts, over which requests and tokens go. No Ray here.

A call through a handle of Serve costs more than the tokens that it asks for, and so does every item that comes back. An
ingress asks Serve for a *line*: one call, for which Serve chooses a replica, which it counts, and which ends when the
replica is lost. The replica connects to the ingress, says the ingress's secret, and answers one request after another.
A line ends when it is idle, and is replaced after some seconds: so Serve goes on choosing, and sees how much there is
to do.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from serve.deployments.waiting import Waiting, Whole
from serve.deployments.wire import pack, unpack
from serve.errors import ExpertUnavailableError
from serve.messages import GenerationRequest

IDLE_SECONDS, LINE_SECONDS = 3.0, 15.0
"""How long a line without requests stays, and after which time a line takes no more of them."""
_LENGTH, _SECRET, _NUMBER = 4, 32, 8


@dataclass(frozen=True)
class Where:
    """Where a replica connects to, and what it says first."""

    host: str
    port: int
    secret: bytes
    number: int


class Frames(asyncio.Protocol, ABC):
    """Values over a connection, each after its length. Both ends know the secret."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        self._data += data
        at = 0
        while (begin := at + _LENGTH) <= len(self._data):
            end = begin + int.from_bytes(self._data[at:begin], "big")
            if end > len(self._data):
                break
            with memoryview(self._data) as view, view[begin:end] as frame:
                value = unpack(frame)
            self.received(*value)
            at = end
        del self._data[:at]

    def send(self, *value: Any) -> None:
        """To the other end; what can't go there any more is dropped."""
        if self.transport is not None:
            data = pack(value)
            self.transport.write(len(data).to_bytes(_LENGTH, "big") + data)

    @abstractmethod
    def received(self, kind: str, number: int = 0, *rest: Any) -> None:
        """What the other end has sent."""


class Ticket:
    """Requests that wait for their answers.

    Attributes:
        line: whose replica is to answer them, None: not known yet; `number`: by which it knows them.
    """

    def __init__(self, requests: Sequence[GenerationRequest], seconds: float, waiting: Waiting) -> None:
        self.requests, self.waiting = requests, waiting
        self.until = asyncio.get_running_loop().time() + seconds
        self.line: Line | None = None
        self.number = 0


class Line(Frames):
    """An ingress's end of a line.

    Args:
        opened: called once the replica is there: before, nothing can be asked.
    """

    def __init__(self, opened: Callable[[Line], None]) -> None:
        super().__init__()
        self._opened, self._closed = opened, False
        self._loop = asyncio.get_running_loop()
        self._tickets: dict[int, Ticket] = {}
        self._numbers, self._until = count(1), 0.0
        self._idle: asyncio.TimerHandle | None = None

    @property
    def waits(self) -> bool:
        """Whether its replica is still to come."""
        return self.transport is None and not self._closed

    @property
    def free(self) -> bool:
        """Whether it takes a request now."""
        return not self._tickets and self._lasts

    @property
    def _lasts(self) -> bool:
        return self.transport is not None and not self._closed and self._loop.time() < self._until

    def ask(self, ticket: Ticket) -> None:
        """Have requests answered."""
        ticket.line, ticket.number = self, next(self._numbers)
        self._tickets[ticket.number] = ticket
        self._rest(None)
        left = max(0.0, ticket.until - self._loop.time())
        self.send("ask", ticket.number, ticket.requests, left, isinstance(ticket.waiting, Whole))

    def forget(self, ticket: Ticket) -> None:
        """Nobody waits for these here any more: what is not done is given up."""
        if self._tickets.pop(ticket.number, None) is None:
            return
        if not ticket.waiting.done:
            self.send("give_up", ticket.number)
        if not self._tickets:
            self._rest(IDLE_SECONDS if self._lasts else 0.0)

    def connected(self, transport: asyncio.Transport) -> None:
        """The replica is there."""
        self.transport, self._until = transport, self._loop.time() + LINE_SECONDS
        if self._closed:
            self.send("end")
            return
        self._rest(IDLE_SECONDS)
        self._opened(self)

    def received(self, kind: str, number: int = 0, *rest: Any) -> None:
        """See :class:`Frames`."""
        if (ticket := self._tickets.get(number)) is not None:
            (ticket.waiting.lose if kind == "failed" else ticket.waiting.take)(*rest)

    def lose(self, reason: Exception) -> None:
        """There is no replica, or no more."""
        self._closed = True
        self._rest(None)
        lost, self._tickets = self._tickets, {}
        for ticket in lost.values():
            ticket.waiting.lose(reason)
        if self.transport is not None:
            self.transport.close()

    def end(self) -> None:
        """It is not needed any more."""
        self._closed = True
        self.send("end")

    def _rest(self, seconds: float | None) -> None:
        """End after so long without requests; None: there are some."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = None if seconds is None else self._loop.call_later(seconds, self.end)


class Exchange:
    """Where an ingress is connected to."""

    def __init__(self) -> None:
        self._secret, self._numbers = secrets.token_bytes(_SECRET), count(1)
        self._lines: dict[int, Line] = {}
        self._server: asyncio.Server | None = None

    async def open(self, host: str) -> None:
        """Listen at an address of this machine that the replicas reach."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: _Incoming(self._secret, self._lines), host, 0)
            self._at = host, int(self._server.sockets[0].getsockname()[1])

    def line(self, opened: Callable[[Line], None]) -> tuple[Where, Line]:
        """A new line, and where its replica connects; `opened` is called when it has."""
        where = Where(*self._at, self._secret, next(self._numbers))
        line = self._lines[where.number] = Line(opened)
        return where, line

    def end(self, where: Where, reason: Exception) -> None:
        """The call that the line was is over: what still waits gets no more."""
        if (line := self._lines.pop(where.number, None)) is not None:
            line.lose(reason)


class _Incoming(asyncio.Protocol):
    """A connection before it has said whose it is."""

    def __init__(self, secret: bytes, lines: dict[int, Line]) -> None:
        self._secret, self._lines, self._data = secret, lines, b""
        self._line: Line | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._line is not None:
            self._line.data_received(data)
            return
        self._data += data
        secret, number = self._data[:_SECRET], self._data[_SECRET : _SECRET + _NUMBER]
        if len(number) < _NUMBER:
            return
        line = self._lines.get(int.from_bytes(number, "big"))
        if not hmac.compare_digest(secret, self._secret) or line is None or line.transport is not None:
            self._transport.close()
            return
        self._line = line
        line.connected(self._transport)  # type: ignore[arg-type]

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        if self._line is not None:
            self._line.lose(ExpertUnavailableError("the expert was lost while it answered", fix="try again"))
