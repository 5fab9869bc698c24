"""Transfers: several at a time, each tried again for a while where its failure may pass."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from orchestrator.remote.errors import explained, may_pass

T = TypeVar("T")
R = TypeVar("R")
_FIRST, _LONGEST = 0.1, 10.0
"""Seconds between the first two tries, and at most between any."""
_OURS = threading.local()
"""Of a thread of :meth:`Transfers.all`: the event that ends its pauses."""


@dataclass(frozen=True)
class Transfers:
    """How requests are made.

    Attributes:
        parallel: at a time.
        patience: seconds after a request's first failure within which it is tried again.
    """

    parallel: int
    patience: float

    def patiently(self, request: Callable[[], T], where: str) -> T:
        """A request's answer, tried again with growing pauses where its failure may pass.

        Raises:
            ResourceError: its failure does not pass, or has not passed within the patience.
        """
        began, pause, given_up = 0.0, _FIRST, getattr(_OURS, "given_up", threading.Event())
        while True:
            try:
                return request()
            except Exception as error:
                now = time.monotonic()
                began = began or now
                wait = pause * random.uniform(0.5, 1.0)  # many workers are not to come back at once
                if not may_pass(error) or now + wait > began + self.patience or given_up.wait(wait):
                    raise explained(error, where) from None
                pause = min(2 * pause, _LONGEST)

    def all(self, do: Callable[[T], R], things: Iterable[T]) -> list[R]:
        """What each call returns, in the order of the things. The first failure ends the others.

        Raises:
            Whatever `do` raises.
        """
        given_up = threading.Event()
        with ThreadPoolExecutor(self.parallel, "transfer", lambda: setattr(_OURS, "given_up", given_up)) as pool:
            waiting = [pool.submit(do, thing) for thing in things]
            try:
                return [each.result() for each in waiting]
            except BaseException:
                given_up.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
