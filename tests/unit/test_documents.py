"""The documents: links, pictures, navigation, figures, code. `make docs` checks what is made from the code."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BESIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", ".github/pull_request_template.md")
ALL = [*PAGES, *(ROOT / name for name in BESIDE)]
MADE = ("reference/", "project/", "notebooks/")
"""Pages that `docs/build.py` makes."""
GLOSSARY = (
    *(
        "stage",
        "step",
        "setup",
        "mixture",
        "version",
        "expert",
        "common expert",
        "teacher",
        "student",
        "block",
        "cache",
    ),
    *("piece", "language", "tag", "text of no language", "recipe", "run", "plug-in", "room", "sweep", "trial", "study"),
)


def relative(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def module(path: Path, name: str) -> ModuleType:
    """A file as a module of its own."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    return module(DOCS / "figures.py", "docs_figures")


@pytest.fixture(scope="module")
def notebooks() -> ModuleType:
    return module(DOCS / "notebooks.py", "docs_notebooks")


def text_of(document: str) -> str:
    """Without blocks of code."""
    return re.sub(r"^```.*?^```$", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """What headings of a document are linked by."""
    found = re.findall(r"^#+ (.+)$", text_of(path.relative_to(ROOT).as_posix()), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", re.sub(r"[`*]", "", heading)).strip().lower() for heading in found)
    return {re.sub(r"\s+", "-", heading) for heading in plain}


@pytest.mark.parametrize("document", relative(ALL))
def test_links_and_pictures_lead_somewhere(document):
    path, lost = ROOT / document, []
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        target, _, anchor = link.partition("#")
        if (
            "://" in link
            or link.startswith("mailto:")
            or (path.is_relative_to(DOCS) and target.lstrip("./").startswith(MADE))
        ):
            continue
        file = path if not target else (path.parent / target).resolve()
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            lost.append(link)
    assert lost == []


def test_the_navigation_has_every_page_once():
    def pages(entries: list[object]) -> list[str]:
        found: list[str] = []
        for entry in entries:
            value = next(iter(entry.values())) if isinstance(entry, dict) else entry
            found += pages(value) if isinstance(value, list) else [str(value)]
        return found

    named = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert len(named) == len(set(named))
    by_hand = {name for name in named if not name.startswith(MADE)}
    assert by_hand == {page.relative_to(DOCS).as_posix() for page in PAGES}
    made = {f"notebooks/{file.stem}.md" for file in (DOCS / "notebooks").glob("*.py")}
    assert made == {name for name in named if name.startswith("notebooks/")}


def test_nothing_is_fetched_when_the_site_is_read():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert config["theme"]["font"] is False
    assert not {"extra_javascript", "extra_css"} & config.keys()
    assert "http" not in (DOCS / "picture.svg").read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")


def test_tables_are_those_of_the_results(figures):
    assert [path.name for path in figures.stale()] == []
    named = [name for page in figures.pages() for name in re.findall(r"<!-- figures: ([\w-]+)", page.read_text())]
    assert set(named) == set(figures.TABLES)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_glossary_has_every_word():
    terms = re.findall(r"^(.+)\n: ", (DOCS / "concepts.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(GLOSSARY) <= set(terms)


# --- notebooks and examples


def test_a_notebook_is_the_file_cell_by_cell(notebooks):
    source = "# %% [markdown]\n# # Title\n#\n# Text.\n\n# %%\nx = 1  # %%\nprint(x)\n"
    assert notebooks.cells(source) == [("markdown", "# Title\n\nText."), ("code", "x = 1  # %%\nprint(x)")]
    assert notebooks.page(source, "a").startswith("# Title\n\n[As a Jupyter notebook](a.ipynb)")
    found = yaml.safe_load(notebooks.notebook(source))
    assert (found["nbformat"], found["nbformat_minor"]) == (4, 5)
    assert [cell["cell_type"] for cell in found["cells"]] == ["markdown", "code"]
    assert "".join(found["cells"][1]["source"]) == "x = 1  # %%\nprint(x)"


def blocks(page: str, language: str) -> list[str]:
    """Blocks of code of a page."""
    found = re.findall(
        rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return [str(block) for block in found]


@pytest.mark.parametrize("page", relative(PAGES))
def test_python_on_a_page_is_python(page):
    for block in blocks(Path(page).relative_to("docs").as_posix(), "python"):
        ast.parse(block)


@pytest.fixture(scope="module")
def mine(tmp_path_factory) -> str:
    """Examples of the page on plug-ins as a module, importable by its name; the study's has `_study` after it."""
    folder = tmp_path_factory.mktemp("plugins")
    *examples, study = blocks("plugins.md", "python")
    (folder / "documented_plugins.py").write_text("\n\n".join(examples), encoding="utf-8")
    (folder / "documented_plugins_study.py").write_text(study, encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield "documented_plugins"
    sys.path.remove(str(folder))


def test_the_loss_of_the_page_is_one(mine):
    import torch

    from orchestrator import plugins

    loss = plugins.create("losses", f"{mine}:Power", {"exponent": 3.0})
    student_NV = torch.randn(4, 7, requires_grad=True)
    teacher_NV = torch.randn(4, 7)
    loss_N, gradient_NV = loss.value_and_grad(student_NV.detach(), teacher_NV)
    loss.per_token(student_NV, teacher_NV).sum().backward()
    torch.testing.assert_close(gradient_NV, student_NV.grad)
    assert (loss_N > 0).all()
    assert float(loss.per_token(teacher_NV, teacher_NV).sum()) == 0


def test_the_schedule_of_the_page_is_one(mine):
    from orchestrator import plugins
    from orchestrator.schedules import LossHistory

    schedule = plugins.create("schedules", f"{mine}:HalfHalf", {})
    weights = [schedule.weights(step, 4, LossHistory()) for step in range(4)]
    assert weights == [(0.0, 1.0), (0.0, 1.0), (1.0, 0.0), (1.0, 0.0)]


def test_the_source_of_the_page_is_one(mine):
    from orchestrator import plugins

    source = plugins.create("corpus.sources", f"{mine}:Numbers", {"documents_per_language": 3})
    documents = list(source.documents("en"))
    assert [document.id for document in documents] == ["0", "1", "2"]
    assert all(len(document.text) >= 100 for document in documents)


def test_the_format_of_the_page_is_one(mine, tmp_path):
    from orchestrator import plugins

    (tmp_path / "a.rec").write_text("one:Un texte\ntwo:Autre: texte\n")
    (tmp_path / "notes.txt").write_text("x")
    source = plugins.create("corpus.sources", "files", {"path": str(tmp_path), "format": f"{mine}:Records"})
    found = [(document.id, document.text.strip()) for document in source.documents("fr")]
    assert found == [("one", "Un texte"), ("two", "Autre: texte")]
    assert source.found("fr").left_out == {".txt": 1}


def test_the_filter_of_the_page_is_one(mine):
    from orchestrator.config.base import PluginSpec
    from orchestrator.corpus.document import Document
    from orchestrator.corpus.judging import filters_of, judged

    filters = filters_of([PluginSpec(type=f"{mine}:Shouting", languages=["en"])], "en", "prose")
    kept, told = judged([Document("1", "", "LOUD", "s", ""), Document("2", "", "Low", "s", "")], filters, "en")
    assert [document.id for document in kept] == ["2"]
    assert told[f"{mine}:Shouting"].rules == {"capitals": 1}
    assert filters_of([PluginSpec(type=f"{mine}:Shouting", languages=["en"])], "de", "prose") == ()


def test_the_model_of_the_page_is_one(mine):
    import torch

    from orchestrator import plugins

    model = plugins.create("models.zoo", f"{mine}:TinyLlama", {"layers": 1}).build(32, 8)
    assert model(torch.from_numpy(np.arange(8)).unsqueeze(0)).logits.shape == (1, 8, 32)


def test_the_study_of_the_page_is_one(mine):
    from orchestrator.config.loading import load_recipe
    from orchestrator.pipeline.graph import steps_of

    study = f"study={{type: '{mine}_study:OneStudent', seeds: [1, 2]}}"
    steps = steps_of(load_recipe(ROOT / "jobs/recipes/smoke.yaml", [study]))
    names = [step.name for step in steps]
    assert {"student@1", "student@2", "report"} <= set(names)
    assert all(names.index(source) < names.index(step.name) for step in steps for source in step.inputs.values())
