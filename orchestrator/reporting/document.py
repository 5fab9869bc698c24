"""A report as data, and its two faces: one self-contained HTML page, and Markdown with its figures beside it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.reporting.figures import Figure
from orchestrator.reporting.tables import Table


@dataclass(frozen=True)
class Listing:
    """Preformatted text, such as a recipe in YAML."""

    caption: str
    text: str
    language: str = "yaml"


@dataclass(frozen=True)
class Section:
    """A heading with sentences, then tables, figures and listings in their order.

    Attributes:
        anchor: its id in the page, letters and hyphens only.
    """

    anchor: str
    title: str
    sentences: tuple[str, ...] = ()
    blocks: tuple[Table | Figure | Listing, ...] = ()


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        facts: a few (label, value) pairs shown at the top. summary: what came out, in sentences.
    """

    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    summary: tuple[str, ...]
    sections: tuple[Section, ...]


def write(document: Document, results: Mapping[str, Any], out: Path) -> None:
    """Write `index.html`, `report.md`, `figures/*.svg` and `results.json` into `out`.

    The same document and results give the same bytes.
    """
    out.mkdir(parents=True, exist_ok=True)
    figures = [block for section in document.sections for block in section.blocks if isinstance(block, Figure)]
    if figures:
        (out / "figures").mkdir(exist_ok=True)
    for figure in figures:
        (out / "figures" / f"{figure.name}.svg").write_text(figure.svg, encoding="utf-8")
    (out / "index.html").write_text(render(document, "report.html.j2"), encoding="utf-8")
    (out / "report.md").write_text(render(document, "report.md.j2"), encoding="utf-8")
    text = json.dumps(_finite(results), indent=1, ensure_ascii=False, allow_nan=False)
    (out / "results.json").write_text(text + "\n", encoding="utf-8")


def render(document: Document, template: str) -> str:
    """The text of `document` in one of the templates; HTML is escaped by jinja2, Markdown by :func:`markdown_text`."""
    environment = Environment(
        loader=PackageLoader("orchestrator.reporting"),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = markdown_text
    environment.filters["fence"] = _fence
    environment.tests["table"] = lambda block: isinstance(block, Table)
    environment.tests["figure"] = lambda block: isinstance(block, Figure)
    # The figure's markup is our own: matplotlib has escaped every label in it.
    environment.filters["inline_svg"] = lambda figure: Markup(figure.inline_svg())
    return environment.get_template(template).render(document=document)


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is: on one line, with no markup, HTML or table cell of its own."""
    line = re.sub(r"[ \t\r\n\f\v]+", " ", text).strip().replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|~$])", r"\\\1", line)


def _fence(text: str) -> str:
    """A code fence longer than any run of backticks in the text, so that the text can't close it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return "`" * max(3, longest + 1)


def _finite(value: Any) -> Any:
    """JSON has no NaN or infinity: None stands for them."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
