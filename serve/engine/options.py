"""How large an engine is, and how exactly it computes."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import ServingError

PRECISIONS = ("fp32", "bf16", "int8")
BLOCK = 16
"""Tokens of a block. Prompts are read, and their beginnings shared, in whole blocks from their first token on."""


@dataclass(frozen=True)
class EngineOptions:
    """Sizes of an engine. None of them changes an answer, `precision` apart.

    Attributes:
        slots: requests that are computed together; more wait.
        chunk: tokens of prompts that one step reads at most, a multiple of :data:`BLOCK`; a long prompt then holds up
            running answers by no more.
        queue: requests that wait at most; None: any number. More are refused.
        prefixes: tokens of prompts whose keys and values are kept for later prompts that begin the same; 0: none.
        precision: "fp32", "bf16" or "int8": of the weights, and of what is multiplied with them.

    Raises:
        ServingError: a value out of range.
    """

    slots: int = 8
    chunk: int = 256
    queue: int | None = None
    prefixes: int = 4096
    precision: str = "fp32"

    def __post_init__(self) -> None:
        rules = {
            "slots must be at least 1": self.slots >= 1,
            f"chunk must be a multiple of {BLOCK}": self.chunk >= BLOCK and self.chunk % BLOCK == 0,
            "queue must be at least 0": self.queue is None or self.queue >= 0,
            "prefixes must be at least 0": self.prefixes >= 0,
            f"precision must be one of {', '.join(PRECISIONS)}": self.precision in PRECISIONS,
        }
        for rule, holds in rules.items():
            if not holds:
                raise ServingError(rule, "engine options")
