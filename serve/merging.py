"""Several asynchronous sources read as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import TypeVar

from serve.messages import Delta

T = TypeVar("T")


async def merged(sources: Sequence[AsyncIterable[T]], until: float | None = None) -> AsyncIterator[list[tuple[int, T]]]:
    """What came since the last time, each with the place of its source; ends when all sources have.

    A reader that is slow gets more at a time, never more often. When it ends, for whatever reason, no source is read
    any more.

    Args:
        sources: each is read by a task of its own.
        until: time of the event loop's clock at which reading is given up; None: never.

    Raises:
        TimeoutError: it is that late. Exception: what a source raised, after what came before that.
    """
    arrived: asyncio.Queue[tuple[int, T] | Exception | None] = asyncio.Queue()
    tasks = [asyncio.create_task(_follow(place, source, arrived)) for place, source in enumerate(sources)]
    try:
        left = len(tasks)
        while left:
            async with asyncio.timeout_at(until):
                items = [await arrived.get()]
            while not arrived.empty():
                items.append(arrived.get_nowait())
            if grown := [item for item in items if isinstance(item, tuple)]:
                yield grown
            for item in items:
                if isinstance(item, Exception):
                    raise item
            left -= items.count(None)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(
    place: int, source: AsyncIterable[T], arrived: asyncio.Queue[tuple[int, T] | Exception | None]
) -> None:
    iterator = aiter(source)
    try:
        async for item in iterator:
            arrived.put_nowait((place, item))
        arrived.put_nowait(None)
    except Exception as error:
        arrived.put_nowait(error)
    finally:
        if (close := getattr(iterator, "aclose", None)) is not None:
            await close()  # now, not when it is collected: whoever computes for it stops


def joined(items: Sequence[tuple[int, Delta]]) -> list[tuple[int, Delta]]:
    """One delta a place."""
    by_place: dict[int, Delta] = {}
    for place, delta in items:
        by_place[place] = by_place[place] + delta if place in by_place else delta
    return list(by_place.items())
