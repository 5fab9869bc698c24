"""What goes over a line, as bytes that hold values alone: nothing that is read can run code."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import msgpack

from orchestrator import errors as common
from orchestrator.errors import MomeError
from serve import errors
from serve.messages import Completion, Constraint, Delta, GenerationRequest, Sampling, TokenLogprob

_KINDS = (GenerationRequest, Sampling, Constraint, Completion, Delta, TokenLogprob)
_ERRORS = {
    name: kind
    for name, kind in {**vars(common), **vars(errors)}.items()
    if isinstance(kind, type) and issubclass(kind, MomeError)
}
_ERROR, _LARGE = len(_KINDS), len(_KINDS) + 1
"""Numbers of what is no kind of message: an error; an integer of more than 64 bits."""
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
_FIELDS = {kind: tuple(field.name for field in fields(kind)) for kind in _KINDS}


def pack(value: Any) -> bytes:
    """A value of messages, tuples, lists, mappings, texts, numbers and errors; an unknown error becomes its text.

    Raises:
        TypeError: it holds something else.
    """
    packed: bytes = msgpack.packb(value, default=_extended, unicode_errors="surrogatepass")
    return packed


def unpack(data: bytes | memoryview) -> Any:
    """What :func:`pack` was given, with tuples in place of lists.

    Raises:
        ValueError: it is nothing that was packed.
    """
    return msgpack.unpackb(
        data, use_list=False, strict_map_key=False, unicode_errors="surrogatepass", ext_hook=_restored
    )


def _extended(value: Any) -> Any:
    number = _NUMBERS.get(type(value))
    if number is not None:
        return msgpack.ExtType(number, pack([getattr(value, name) for name in _FIELDS[type(value)]]))
    if isinstance(value, int):
        return msgpack.ExtType(_LARGE, str(value).encode())
    if isinstance(value, Exception):
        name = type(value).__name__
        if _ERRORS.get(name) is type(value) and isinstance(value, MomeError):
            return msgpack.ExtType(_ERROR, pack([name, value.what, value.where, value.fix]))
        return msgpack.ExtType(_ERROR, pack(["", f"{name}: {value}"]))
    raise TypeError(f"a {type(value).__name__} can't be sent")


def _restored(number: int, data: bytes) -> Any:
    if number == _LARGE:
        return int(data)
    values = unpack(data)
    if number != _ERROR:
        return _KINDS[number](*values)
    name, *about = values
    return _ERRORS[name](*about) if name else RuntimeError(about[0])
