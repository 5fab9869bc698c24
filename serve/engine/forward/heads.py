"""The shape of an attention."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Heads:
    """How many heads an attention has, and what they see.

    Attributes:
        queries, keys: numbers of heads; each key head serves the same number of query heads.
        width: of a head.
        window: how many last tokens a token sees, itself included; None: all.
    """

    queries: int
    keys: int
    width: int
    window: int | None = None

    @property
    def shared(self) -> int:
        """Query heads of a key head."""
        return self.queries // self.keys
