"""A report as data, and its two faces: self-contained HTML pages, and Markdown with its figures beside it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
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
        facts: a few (label, value) pairs shown at the top.
        summary: what came out, in sentences.
    """

    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    summary: tuple[str, ...]
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Page:
    """One page of a report of several.

    Attributes:
        name: file name without suffix; the first page's is "index".
        label: what the navigation calls it.
    """

    name: str
    label: str
    document: Document


@dataclass(frozen=True)
class Link:
    """A place in the navigation.

    Attributes:
        href: relative to the report.
        current: the page that it is shown on.
    """

    href: str
    label: str
    current: bool = False


def write(document: Document, results: Mapping[str, Any], out: Path) -> None:
    """Write `index.html`, `report.md`, `figures/*.svg` and `results.json` into `out`.

    The same document and results give the same bytes.
    """
    write_pages((Page("index", document.title, document),), results, out)


def write_pages(pages: Sequence[Page], results: Mapping[str, Any], out: Path, links: Sequence[Link] = ()) -> None:
    """Write a report of several pages: an HTML file each, all of them in one `report.md`, and as :func:`write`.

    Args:
        pages: the first one is the way in. Figures of all pages have different names.
        results: for `results.json`.
        out: folder to write into.
        links: other places that the navigation leads to, after the pages.
    """
    out.mkdir(parents=True, exist_ok=True)
    sections = [section for page in pages for section in page.document.sections]
    figures = [block for section in sections for block in section.blocks if isinstance(block, Figure)]
    if figures:
        (out / "figures").mkdir(exist_ok=True)
    for figure in figures:
        (out / "figures" / f"{figure.name}.svg").write_text(figure.svg, encoding="utf-8")
    for page in pages:
        places = [Link(f"{each.name}.html", each.label, each is page) for each in pages] if len(pages) > 1 else []
        text = render(page.document, "report.html.j2", navigation=[*places, *links])
        (out / f"{page.name}.html").write_text(text, encoding="utf-8")
    parts = [
        render(page.document, "report.md.j2", depth=0 if page is pages[0] else 1, last=page is pages[-1])
        for page in pages
    ]
    (out / "report.md").write_text("\n".join(parts), encoding="utf-8")
    text = json.dumps(_finite(results), indent=1, ensure_ascii=False, allow_nan=False)
    (out / "results.json").write_text(text + "\n", encoding="utf-8")


def render(
    document: Document, template: str, *, navigation: Sequence[Link] = (), depth: int = 0, last: bool = True
) -> str:
    """The text of `document` in one of the templates; HTML is escaped by jinja2, Markdown by :func:`markdown_text`.

    Args:
        document: what to show.
        template: "report.html.j2" or "report.md.j2".
        navigation: links to the report's pages, in HTML.
        depth: in Markdown, how many levels its headings are below a title.
        last: whether the report ends with it.
    """
    found = _environment(template.endswith(".html.j2")).get_template(template)
    return found.render(document=document, navigation=navigation, depth=depth, last=last)


@cache  # it keeps the templates that it has compiled
def _environment(html: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("orchestrator.reporting"),
        autoescape=html,
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
    return environment


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
