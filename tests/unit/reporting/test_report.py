import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from orchestrator.reporting.report import write_report


class _Page(HTMLParser):
    """Tags with their attributes, ids, and the text of a page; complains about tags that don't nest."""

    VOID = frozenset({"meta", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def page(report: Path) -> _Page:
    return _Page((report / "index.html").read_text())


def test_writes_every_file(report: Path) -> None:
    assert {p.relative_to(report).as_posix() for p in report.rglob("*") if p.is_file()} == {
        "index.html",
        "report.md",
        "results.json",
        *(
            f"figures/{name}.svg"
            for name in (
                "confusion",
                "confusion-short",
                "corpus-splits",
                "learning-experts",
                "learning-teacher",
                "loss-weights",
                "perplexity",
                "reliability",
            )
        ),
    }


def test_results_have_the_papers_names_and_shapes(report: Path, made_up) -> None:
    results = json.loads((report / "results.json").read_text())
    assert results["table3_router"]["sgd"].keys() == {"accuracy", "precision", "recall", "f1"}
    assert results["table4_perplexity"]["ple"]["en"] == pytest.approx(210.42)
    assert results["expert_perplexity"] == {
        expert: {lang: pytest.approx(value) for lang, value in row.items()}
        for expert, row in made_up.PERPLEXITY.items()
    }
    assert results["teacher_perplexity"] == made_up.TEACHER
    assert results["corpus"]["py"]["test"] == {
        "documents": 12, "characters": 48_000, "bytes": 49_200, "tokens": 12_000, "blocks": 93,
    }  # fmt: skip
    assert results["seconds"]["total"] == pytest.approx(12.25 * 12)
    assert results["peak_memory_bytes"]["largest"] == 800_000_000
    assert results["versions"] == {"python": "3.11.2", "torch": "2.13.0"}


def test_same_inputs_give_the_same_bytes(inputs, made_up, report: Path, tmp_path: Path) -> None:
    write_report(inputs, made_up.RECIPE, tmp_path / "again")
    for path in report.rglob("*.*"):
        assert (tmp_path / "again" / path.relative_to(report)).read_bytes() == path.read_bytes(), path.name


def test_page_needs_nothing_from_outside(page: _Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"script", "iframe", "img", "object"}
        for name in ("src", "href", "xlink:href", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    source = " ".join(value or "" for _, attributes in page.tags for value in attributes.values())
    assert "http" not in source
    assert "@import" not in page.text


def test_page_is_accessible(page: _Page) -> None:
    tags = [tag for tag, _ in page.tags]
    assert tags.count("h1") == 1
    assert tags.count("caption") == tags.count("table") > 5
    assert all(attributes.get("scope") in {"row", "col"} for tag, attributes in page.tags if tag == "th")
    figures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(figures) == 8
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in figures)
    assert dict(page.tags[0][1]) == {"lang": "en"}


def test_ids_are_unique_and_every_reference_is_there(page: _Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    source = " ".join(value or "" for _, attributes in page.tags for value in attributes.values())
    links = [attributes[key] for _, attributes in page.tags for key in ("href", "xlink:href") if key in attributes]
    wanted = {link[1:] for link in links if link.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", source))
    assert wanted <= set(ids)


def test_figures_follow_the_theme_in_the_page_and_not_in_their_files(report: Path) -> None:
    page = (report / "index.html").read_text()
    assert "fill: var(--surface)" in page
    assert "var(" not in (report / "figures" / "confusion.svg").read_text()


def test_text_from_outside_is_escaped(report: Path) -> None:
    page, markdown = (report / "index.html").read_text(), (report / "report.md").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; a | pipe." in page
    assert "&lt;script&gt;" in markdown.split("```")[0]
    assert "<script" not in markdown.split("```")[0]  # inside the fence it is only text


def test_markdown_tables_are_rectangular_and_figures_are_there(report: Path) -> None:
    markdown = (report / "report.md").read_text()
    for block in re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE):
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(columns) == 1, block
    for name in re.findall(r"\]\((figures/[^)]+)\)", markdown):
        assert (report / name).exists()


@pytest.fixture(scope="module")
def other(made_up, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run of two languages, whose filters dropped something."""
    inputs = made_up.write_run(tmp_path_factory.mktemp("run") / "run")

    def change(file: Path, how: Callable[[Any], object]) -> None:
        about = json.loads(file.read_text())
        how(about)
        file.write_text(json.dumps(about))

    def evaluated(found: Any) -> None:
        found["experts"] = {expert: found["experts"][expert] for expert in ("en", "fr")}

    def routed(metrics: Any) -> None:
        metrics["languages"] = ["en", "fr"]
        for lengths in metrics["classifiers"].values():
            lengths["confusion"] = [[60, 1], [0, 61]]

    def filtered(about: Any) -> None:
        sample = {"rule": "in en", "id": "page-7", "text": "An <English> page"}
        about["languages"]["fr"]["filters"] = {
            "language": {"rules": {"in en": 51}, "edits": {}, "samples": [sample]},
            "c4": {"rules": {}, "edits": {"short line": 4_000}, "samples": []},
        }

    change(inputs["blocks"] / "blocks.json", lambda about: about.update(languages=["en", "fr"]))
    change(
        inputs["evaluation"] / "evaluation.json", lambda found: [found["experts"].pop(each) for each in ("de", "py")]
    )
    change(inputs["router"] / "metrics.json", routed)
    change(inputs["corpus"] / "corpus.json", filtered)
    out = tmp_path_factory.mktemp("other")
    write_report(inputs, made_up.RECIPE, out)
    return out


def test_the_papers_rows_stand_beside_ours_only_where_languages_match(other: Path) -> None:
    markdown = (other / "report.md").read_text()
    assert "Logistic regression, ours" in markdown
    assert "Logistic regression, the paper's" not in markdown


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no browser here")
@pytest.mark.parametrize("width", [1200, 390])
def test_opens_in_a_browser_without_error_or_sideways_scrolling(report: Path, tmp_path: Path, width: int) -> None:
    probe = tmp_path / "probe.html"  # a page of its own: the report allows no script
    page = (report / "index.html").read_text()
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    script = (
        "document.title = [document.documentElement.scrollWidth, innerWidth, document.querySelectorAll('svg').length]"
    )
    frame = page.replace("</body>", f"<script>{script}</script></body>")
    probe.write_text(frame)
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width},900", "--dump-dom",
    ]  # fmt: skip
    done = subprocess.run([CHROMIUM, *flags, probe.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    title = re.search(r"<title>(\d+),(\d+),(\d+)</title>", done.stdout)
    assert title is not None
    scrolled, inner, figures = map(int, title.groups())
    assert scrolled <= inner
    assert figures == 8


def test_what_filters_dropped_is_counted_and_shown(other: Path) -> None:
    page = (other / "index.html").read_text()
    for text in ("What the filters did", "in en", "51", "short line", "page-7", "An &lt;English&gt; page"):
        assert text in page


def test_bits_per_character_stand_beside_bits_per_byte(report: Path) -> None:
    results = json.loads((report / "results.json").read_text())
    for who, by_language in results["bits_per_byte"].items():
        for language, bits in by_language.items():
            assert results["bits_per_character"][who][language] == pytest.approx(bits * 4100 / 4000)
    assert "per character" in (report / "report.md").read_text()
    assert "What the filters did" not in (report / "report.md").read_text()
