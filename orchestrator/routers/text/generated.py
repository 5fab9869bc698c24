"""Text of no language made up on the spot: queries, records, numbers, noise, and words of other scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

# Blocks of Unicode with whole alphabets, for languages that have no sentences here.
_SCRIPTS = (
    *("ԱՖաֆ", "აჰაჰ", "กฮะู", "অহাু", "அஹாு", "అహాు", "ሀፐሀፐ", "ကဟာု", "កហាុ", "АЯая"),
    *("ΑΩαω", "ابتي", "אתאת", "ぁんァン", "一鿋一鿋", "가힣가힣", "अहाु", "ਅਹਾੁ", "ກຮາຸ"),
)


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


_NAMES = (
    *("user", "orders", "name", "id", "price", "created_at", "email", "status", "city", "total", "items", "country"),
    *("kunde", "client", "produit", "datum", "titre", "value", "type", "count", "address", "phone", "date", "label"),
)


def _sql(rng: np.random.Generator) -> str:
    a, b, c, d = (_pick(rng, _NAMES) for _ in range(4))
    n = int(rng.integers(1, 5000))
    forms = (
        f"SELECT {a}, {b} FROM {c}s WHERE {d} = {n} ORDER BY {a} DESC LIMIT {n};",
        f"INSERT INTO {c} ({a}, {b}) VALUES ('{d}', {n});",
        f"UPDATE {c}s SET {a} = '{b}' WHERE {d}_id = {n};",
        f"select count(*) as {a} from {c} t left join {d} u on t.{b} = u.{b} group by t.{a} having count(*) > {n};",
        f"CREATE TABLE {c}s (\n  {a} INTEGER PRIMARY KEY,\n  {b} VARCHAR({n}) NOT NULL,\n  {d} TIMESTAMP\n);",
        f"DELETE FROM {c} WHERE {a} IS NULL AND {b} <> '{d}';",
    )
    return _pick(rng, forms)


def _json(rng: np.random.Generator) -> str:
    record = {
        _pick(rng, _NAMES): value
        for value in (int(rng.integers(10**6)), float(rng.random()), "a1b2", None, True, [1, 2])
    }
    return json.dumps(
        {_pick(rng, _NAMES): [record, {_pick(rng, _NAMES): _noise(rng)}]}, indent=int(rng.integers(3)) or None
    )


def _numbers(rng: np.random.Generator) -> str:
    forms = (
        "{:d}",
        "{:,d}",
        "{:.0f}.50 €",
        "+49 {:d}",
        "{:d}-{:d}-12",
        "12:{:d}",
        "${:d}",
        "{:d} %",
        "{:d};{:d}",
        "0x{:x}",
        "{:e}",
    )
    return " ".join(
        _pick(rng, forms).format(*(int(n) for n in rng.integers(1, 10**5, 2))) for _ in range(int(rng.integers(1, 8)))
    )


def _noise(rng: np.random.Generator) -> str:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    pool = (
        letters[:26] if rng.random() < 0.3 else letters + "+/=-_" if rng.random() < 0.5 else letters + "!?#$%&*;:,. ~^@"
    )
    return " ".join(
        "".join(_pick(rng, pool) for _ in range(int(rng.integers(4, 24)))) for _ in range(int(rng.integers(1, 4)))
    )


def _emoji(rng: np.random.Generator) -> str:
    return "".join(chr(int(n)) for n in rng.integers(0x1F300, 0x1F6FF, int(rng.integers(1, 12))))


def _script(rng: np.random.Generator) -> str:
    """Words of letters of one script: unlike any language but for the alphabet."""
    ends = _pick(rng, _SCRIPTS)
    ranges = [(ord(ends[i]), ord(ends[i + 1])) for i in range(0, len(ends), 2)]

    def word() -> str:
        low, high = ranges[int(rng.integers(len(ranges)))]
        low, high = min(low, high), max(low, high)
        return "".join(chr(int(n)) for n in rng.integers(low, high + 1, int(rng.integers(2, 10))))

    return " ".join(word() for _ in range(int(rng.integers(1, 8))))


def _marks(rng: np.random.Generator) -> str:
    return "".join(_pick(rng, "!?.,;:-_*+#()[]{}<>/\\|\"'§$%&=~^…·•") for _ in range(int(rng.integers(1, 30))))


GENERATORS: Mapping[str, Callable[[np.random.Generator], str]] = {
    "sql": _sql,
    "json": _json,
    "numbers": _numbers,
    "noise": _noise,
    "emoji": _emoji,
    "scripts": _script,
    "marks": _marks,
}
