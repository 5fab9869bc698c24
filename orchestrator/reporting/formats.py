"""Numbers as people read them. The exact values are in `results.json`."""

from __future__ import annotations

import math
from collections.abc import Sequence

MISSING = "–"
GAP = "\N{NO-BREAK SPACE}"
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(value: float | None) -> str:
    """A whole number with thousands separators: 1,234,567."""
    return MISSING if value is None else f"{round(value):,}"


def compact(value: float | None) -> str:
    """A large number in up to three digits: 1.23 M, 900 k, 8."""
    if value is None:
        return MISSING
    size, unit = next(((s, u) for s, u in _UNITS if abs(value) >= s), (1.0, ""))
    digits = significant(value / size)
    return (digits.rstrip("0").rstrip(".") if "." in digits else digits) + (GAP + unit if unit else "")


def significant(value: float | None, digits: int = 3) -> str:
    """At least `digits` significant digits, never in exponents below a million: 1,234, 12.3, 0.00123."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # after rounding: 9.999 is 10.0
    decimals = max(0, digits - 1 - exponent)
    return f"{value:,.{min(decimals, 9)}f}"


def perplexity(value: float | None) -> str:
    """A perplexity in four digits."""
    return significant(value, 4)


def interval(bounds: Sequence[float] | None, digits: int = 4) -> str:
    """Bounds of an interval: [101.0, 110.2]; "" when there are none."""
    return "" if bounds is None else f"[{significant(bounds[0], digits)}, {significant(bounds[1], digits)}]"


def signed(value: float, decimals: int = 3) -> str:
    """A difference with its sign, a true minus: −0.004."""
    return f"{value:+.{decimals}f}".replace("-", "−")


def percent(ratio: float) -> str:
    """A ratio to 1 as a signed difference in percent: 1.034 is +3.4 %."""
    return signed(100 * (ratio - 1), 1) + GAP + "%"


def share(value: float | None, decimals: int = 2) -> str:
    """A share of 1 in percent: 0.9995 is 99.95 %."""
    return MISSING if value is None else f"{100 * value:.{decimals}f}{GAP}%"


def duration(seconds: float | None) -> str:
    """Seconds as 0.4 s, 52 s, 3 min 4 s or 2 h 5 min."""
    if seconds is None:
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f}{GAP}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest}{GAP}s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{minutes}{GAP}min{GAP}{rest}{GAP}s" if hours == 0 else f"{hours}{GAP}h{GAP}{minutes_left}{GAP}min"


def memory(size: float | None) -> str:
    """Bytes in decimal units: 1.23 GB."""
    if not size:
        return MISSING
    return f"{compact(size)}B" if size >= 1000 else f"{size:.0f}{GAP}B"


def listing(items: Sequence[str]) -> str:
    """Items as an enumeration: "en, fr and de"."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1] if items else ""
