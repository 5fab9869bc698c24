"""The markers in Wiki-40B's articles (Guo et al., LREC 2020)."""

from __future__ import annotations

import re

_MARKER = re.compile(r"\s*_START_(ARTICLE|SECTION|PARAGRAPH)_\s*")


def plain_text(marked: str) -> tuple[str, str]:
    """(title, text) of an article: headings and paragraphs apart by empty lines, the title first."""
    parts = _MARKER.split(marked.replace("_NEWLINE_", "\n"))
    # re.split with a group alternates text and marker names: ["", "ARTICLE", title, "SECTION", heading, …]
    title = next((text for kind, text in zip(parts[1::2], parts[2::2], strict=True) if kind == "ARTICLE"), "")
    return title.strip(), "\n\n".join(part.strip() for part in parts[::2] if part.strip())
