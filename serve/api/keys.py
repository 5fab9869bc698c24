"""Who may ask: keys in a file, of which only digests are kept."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
import time
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from orchestrator.errors import ServingError
from serve.errors import AuthenticationError

log = logging.getLogger("mome.keys")
_PREFIX = "mome-"


class Keys:
    """The keys of a file. They are read again when it has changed: a revoked key is refused from the next request on.

    A key has 256 random bits, so a fast digest (SHA-256) is enough: nobody finds it by trying.

    Args:
        file: JSON, name -> digest and Unix time at which it was made. If it is gone or damaged later, no key is known.

    Raises:
        ServingError: it is not there, can't be read, or others can read or write it.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._seen: tuple[int, int, int] | None = None
        self._digests: dict[str, str] = {}
        _check_private(file)
        read(file)

    def __len__(self) -> int:
        self._refresh()
        return len(self._digests)

    def check(self, authorization: str | None) -> str:
        """The name of the key in an `Authorization` header.

        Raises:
            AuthenticationError: there is none, or it is not known.
        """
        self._refresh()
        kind, _, key = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not key.strip():
            raise AuthenticationError("this server needs an API key", fix="send the header Authorization: Bearer KEY")
        digest, found = _digest(key.strip()), ""
        for name, known in self._digests.items():  # all of them, so that time tells nothing
            if hmac.compare_digest(digest, known):
                found = name
        if not found:
            raise AuthenticationError("this API key is not known", fix="ask for one: mome keys add NAME")
        return found

    def _refresh(self) -> None:
        try:
            state = self.file.stat()
            seen = (state.st_mtime_ns, state.st_size, state.st_ino)
            if seen != self._seen:
                self._digests = {name: str(entry["sha256"]) for name, entry in read(self.file).items()}
                self._seen = seen
        except (OSError, ServingError) as error:
            if self._seen is not None:
                log.warning("no API key is known any more: %s", error)
            self._digests, self._seen = {}, None


def check_exposure(host: str, keys: Keys | None) -> None:
    """Make sure that an address other machines can reach is served with keys.

    Raises:
        ServingError: it is not.
    """
    if not keys and not _loopback(host):
        raise ServingError(
            f"{host} can be reached from other machines, and there are no API keys",
            "--host",
            "make one with `mome keys add NAME` and give --keys FILE, or listen on 127.0.0.1",
        )


def add(file: Path, name: str) -> str:
    """Make a key and keep its digest; the key itself is told this once.

    Raises:
        ServingError: there is one of this name, or the file can't be read or written.
    """
    known = read(file) if file.exists() else {}
    if not name or len(name) > 64 or not name.isprintable():
        raise ServingError("a key's name has 1 to 64 printable characters", repr(name))
    if name in known:
        raise ServingError(f"there is a key {name!r} already", str(file), f"mome keys revoke {name}, or another name")
    key = _PREFIX + secrets.token_urlsafe(32)
    _write(file, {**known, name: {"sha256": _digest(key), "created": int(time.time())}})
    return key


def revoke(file: Path, name: str) -> None:
    """Forget a key: servers refuse it from now on.

    Raises:
        ServingError: there is none of this name, or the file can't be read or written.
    """
    known = dict(read(file))
    if known.pop(name, None) is None:
        raise ServingError(f"there is no key {name!r}", str(file), f"there are: {', '.join(known) or 'none'}")
    _write(file, known)


def read(file: Path) -> dict[str, Mapping[str, int | str]]:
    """Name -> digest and time.

    Raises:
        ServingError: it is not there, or not such a file.
    """
    try:
        found = json.loads(file.read_text("utf-8-sig"))["keys"]  # as some editors save it
        ok = all(isinstance(entry["sha256"], str) and len(entry["sha256"]) == 64 for entry in found.values())
    except OSError as error:
        fix = "name a file" if file.is_dir() else "make a key: mome keys add NAME"
        raise ServingError(f"the keys can't be read: {error.strerror}", str(file), fix) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        ok = False
    if not ok:
        raise ServingError("this is no file of keys", str(file), "make one: mome keys add NAME --file FILE")
    return dict(found)


def _check_private(file: Path) -> None:
    try:
        mode = file.stat().st_mode
    except OSError:
        return  # reading it says why
    if mode & 0o077:
        raise ServingError("others can read or write the file of keys", str(file), f"chmod 600 {file}")


def _write(file: Path, known: Mapping[str, Mapping[str, int | str]]) -> None:
    """Whole or not at all: servers read it at any time."""
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            json.dump({"keys": known}, stream, indent=1)
        fresh.replace(file)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise ServingError(f"the keys can't be written: {error.strerror}", str(file)) from None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
