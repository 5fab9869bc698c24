"""Where a tracker writes: a run's own store in its folder, or the one at MLFLOW_TRACKING_URI, without its secrets."""

from __future__ import annotations

import os
import re
import tempfile
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote

DATABASE = "mlflow.db"
_HIDDEN = "***"
_PLAIN = "/ +"  # beside letters, digits and "_.-~": what every reader of a database's URI takes as it stands
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_SHORTEST_VALUE = 4  # of a query: "1" or "on" is no secret


@cache
def local_store(folder: Path) -> str:
    """The URI of a run's own store, a SQLite file in its folder.

    A "%", "?" or "#" in a path is read in one way by MLflow and in another by SQLAlchemy, which changed its own from
    2.0 to 2.1. A folder that has any is reached by a link that has none; it goes when the process ends.

    Raises:
        OSError: there is no place for the link.
    """
    place = folder.resolve()
    return f"sqlite:///{(place if _plain(place) else _linked(place)) / DATABASE}"


def masked(uri: str) -> str:
    """A URI to show and to keep: without user, password, and values of its query.

    Where a part may be of the host or of a password, it is left out too.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    rest, fragment, _ = rest.partition("#")
    place, question, query = rest.partition("?")
    if "@" in query + _after(uri, "#"):  # a password with a "?" in it, or a query with an "@"
        return f"{scheme}://{_HIDDEN}"
    if not place.startswith("/"):  # of "sqlite:////home/a@b" all is a path
        before, at, host = place.rpartition("@")
        place = f"{_HIDDEN}@{host}" if at and before else host
    keys = [f"{pair.partition('=')[0]}={_HIDDEN}" if "=" in pair else _HIDDEN for pair in query.split("&")]
    return f"{scheme}://{place}" + (f"?{'&'.join(keys)}" if question else "") + (f"#{_HIDDEN}" if fragment else "")


def without_secrets(text: str, uri: str) -> str:
    """A text, an error's say, with the URI and what it holds of secrets masked in it, as written and as decoded."""
    if uri:
        text = text.replace(uri, masked(uri))
    secrets = sorted(_secrets(uri), key=len, reverse=True)
    return re.sub("|".join(map(re.escape, secrets)), _HIDDEN, text, flags=re.IGNORECASE) if secrets else text


def _secrets(uri: str) -> set[str]:
    found = [value for name in _SECRETS if (value := os.environ.get(name))]
    rest = _after(uri, "://")
    if not rest.startswith("/") and "@" in rest:
        user = rest.rpartition("@")[0]
        found += [user, user.partition(":")[2] or user]
    values = [value for _, value in parse_qsl(_after(uri, "?"))] + [
        pair.partition("=")[2] or pair for pair in _after(uri, "?").split("&")
    ]
    found += [value for value in values if len(value) >= _SHORTEST_VALUE]
    return {form for secret in found for form in (secret, unquote(secret), quote(unquote(secret), safe="")) if form}


def _after(text: str, separator: str) -> str:
    return text.partition(separator)[2]


def _plain(path: Path) -> bool:
    return quote(os.fsencode(path), safe=_PLAIN) == str(path)


def _linked(folder: Path) -> Path:
    """A link to a folder in a temporary one of this process alone."""
    parents = [place for place in (tempfile.gettempdir(), "/var/tmp", "/tmp") if _plain(Path(place).resolve())]
    if not parents:
        raise OSError(f"no temporary folder has a name that can be part of a database's URI: {tempfile.gettempdir()}")
    temporary = tempfile.TemporaryDirectory(prefix="mome-tracking-", dir=Path(parents[0]).resolve())
    _links.append(temporary)
    link = Path(temporary.name) / "run"
    link.symlink_to(folder, target_is_directory=True)
    return link


_links: list[tempfile.TemporaryDirectory[str]] = []
"""Kept until the process ends, which removes them."""
