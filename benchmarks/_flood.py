"""As many requests as an endpoint can answer, and more than that at a steady rate, whether or not it answers.

Both by plain sockets that stay open, as clients need CPUs too: what a client of httpx takes, the endpoint can't have.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import urlsplit

from benchmarks._endpoint import prompt

_OK, _BUSY = 200, 429
_LOST = (OSError, ValueError, asyncio.IncompleteReadError)


@dataclass
class Flood:
    """What came of it.

    Attributes:
        sent: requests. seconds: for which they were sent. tokens: of answers that came meanwhile.
        refusals: seconds until each 429.
        others: statuses that are neither 200 nor 429; 0: the connection was cut.
    """

    sent: int = 0
    seconds: float = 0.0
    tokens: int = 0
    refusals: list[float] = field(default_factory=list)
    others: list[int] = field(default_factory=list)


def capacity(address: str, clients: int, seconds: float, tokens: int) -> Flood:
    """What comes of so many clients that ask for whole answers one after another.

    Args:
        address: of the endpoint.
        clients: that fill every slot.
        seconds: for which they ask; before them, half as long is not counted.
        tokens: of an answer.
    """
    return asyncio.run(_capacity(address, clients, seconds, tokens))


async def _capacity(address: str, clients: int, seconds: float, tokens: int) -> Flood:
    seen, numbers, connections = Flood(seconds=seconds), count(), Connections(address)
    begin = time.perf_counter() + seconds / 2

    async def ask_on() -> None:
        while time.perf_counter() < begin + seconds:
            seen.sent += 1
            await _one(connections, seen, next(numbers), tokens, begin, begin + seconds)

    await asyncio.gather(*(ask_on() for _ in range(clients)))
    connections.close()
    return seen


def flood(address: str, rate: float, seconds: float, tokens: int) -> Flood:
    """Ask for whole answers at a steady rate, and wait for all of them.

    Args:
        address: of the endpoint.
        rate: requests a second.
        seconds: for which to ask; before them, half as long is not counted, in which long answers fill the slots.
        tokens: of an answer.
    """
    return asyncio.run(_flood(address, rate, seconds, tokens))


async def _flood(address: str, rate: float, seconds: float, tokens: int) -> Flood:
    seen, start, tasks = Flood(seconds=seconds), time.perf_counter(), set[asyncio.Task[None]]()
    begin, connections = start + seconds / 2, Connections(address)
    while (now := time.perf_counter()) < begin + seconds:
        for number in range(seen.sent, int((now - start) * rate)):
            tasks.add(asyncio.create_task(_one(connections, seen, number, tokens, begin, begin + seconds)))
            seen.sent += 1
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)
    connections.close()
    return seen


async def _one(connections: Connections, seen: Flood, number: int, tokens: int, since: float, until: float) -> None:
    begin = time.perf_counter()
    try:
        status, body = await connections.post({"prompt": prompt(number), "max_tokens": tokens, "temperature": 0})
    except _LOST:
        seen.others.append(0)
        return
    end = time.perf_counter()
    if status == _BUSY:
        seen.refusals.append(end - begin)
    elif status != _OK:
        seen.others.append(status)
    elif since <= end <= until:
        seen.tokens += json.loads(body)["usage"]["completion_tokens"]


class Connections:
    """As many as are needed at once."""

    def __init__(self, address: str) -> None:
        self._place = urlsplit(address)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, body: dict[str, object]) -> tuple[int, bytes]:
        """The status and the body of one answer.

        Raises:
            OSError, ValueError, asyncio.IncompleteReadError: the connection was cut.
        """
        place, data = self._place, json.dumps(body).encode()
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(place.hostname, place.port)
        head = f"POST /v1/completions HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        try:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
            status, said = int(first.split()[1]), _headers(lines)
            answer = await reader.readexactly(int(said[b"content-length"]))
        except (IndexError, KeyError) as error:
            writer.close()
            raise ValueError("no answer") from error
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer))
        return status, answer

    def close(self) -> None:
        """End those that are idle."""
        for _, writer in self._idle:
            writer.close()


def _headers(lines: Sequence[bytes]) -> dict[bytes, bytes]:
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
