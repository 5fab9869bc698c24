"""More requests than an endpoint can answer, at a steady rate, whether or not it answers."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from benchmarks._endpoint import prompt

_OK, _BUSY = 200, 429


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


def flood(address: str, rate: float, seconds: float, tokens: int) -> Flood:
    """Ask for whole answers at a steady rate, and wait for all of them; plain sockets, as clients need CPUs too.

    Args:
        address: of the endpoint.
        rate: requests a second.
        seconds: for which to ask.
        tokens: of an answer.
    """
    return asyncio.run(_flood(address, rate, seconds, tokens))


async def _flood(address: str, rate: float, seconds: float, tokens: int) -> Flood:
    seen, begin, tasks = Flood(seconds=seconds), time.perf_counter(), set[asyncio.Task[None]]()
    while (now := time.perf_counter() - begin) < seconds:
        for number in range(seen.sent, int(now * rate)):
            tasks.add(asyncio.create_task(_one(address, seen, number, tokens, begin + seconds)))
            seen.sent += 1
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)
    return seen


async def _one(address: str, seen: Flood, number: int, tokens: int, until: float) -> None:
    begin = time.perf_counter()
    try:
        status, answer = await post(address, {"prompt": prompt(number), "max_tokens": tokens, "temperature": 0})
    except (OSError, ValueError, asyncio.IncompleteReadError):
        seen.others.append(0)
        return
    if status == _BUSY:
        seen.refusals.append(time.perf_counter() - begin)
    elif status != _OK:
        seen.others.append(status)
    elif time.perf_counter() <= until:
        seen.tokens += answer["usage"]["completion_tokens"]


async def post(address: str, body: dict[str, object]) -> tuple[int, dict[str, dict[str, int]]]:
    """The status and the body of one answer."""
    place, data = urlsplit(address), json.dumps(body).encode()
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    head = f"POST /v1/completions HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}connection: close\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
    try:
        status = int((await reader.readline()).split()[1])
        lines = [line async for line in _lines(reader)]
        (length,) = [int(line.partition(b":")[2]) for line in lines if line.lower().startswith(b"content-length:")]
        return status, json.loads(await reader.readexactly(length))
    except IndexError:
        raise ValueError("no answer") from None
    finally:
        writer.close()


async def _lines(reader: asyncio.StreamReader):  # type: ignore[no-untyped-def]
    while (line := await reader.readline()).strip():
        yield line
