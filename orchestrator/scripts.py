"""Scripts that part no words by spaces, as ranges of a regular expression's class."""

from __future__ import annotations

import re

SOUTH_EAST = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9ff\uaa60-\uaadf"
"""Thai, Lao, Tibetan, Burmese, Khmer and others of South-East Asia."""
EAST = (
    "\u2e80-\u2fff\u3001-\u303f\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\ua4cf\uf900-\ufaff\uff66-\uff9f"
    "\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
"""Chinese, Japanese and Yi."""
UNSPACED = SOUTH_EAST + EAST
_ANY = re.compile(f"[{UNSPACED}]")


def has_unspaced(text: str) -> bool:
    """Whether a text has a character of a script that parts no words by spaces."""
    return not text.isascii() and _ANY.search(text) is not None
