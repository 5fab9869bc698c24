"""Random numbers that a request owns: a function of its seed, its stream and the place of the token, and of no state.

So a row draws the same numbers whatever else is computed, and another replica goes on where one was lost.
"""

from __future__ import annotations

import secrets
import struct
from hashlib import blake2b

_MASK = 2**64 - 1
_COUNTER = struct.Struct("<QQQ")


def fresh_seed() -> int:
    """A seed for a request that came without one."""
    return secrets.randbits(63)


def uniform(seed: int, stream: int, place: int) -> float:
    """The number in [0, 1), 53 bits of it random, that belongs to a token.

    Args:
        seed: of the request; any integer, taken modulo 2⁶⁴.
        stream: tells apart choices that share a seed.
        place: how many tokens the answer has before this one.
    """
    digest = blake2b(_COUNTER.pack(seed & _MASK, stream & _MASK, place), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53
