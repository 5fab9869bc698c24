"""A whole mixture outside MoME: its reader routes and continues as the run does, and needs numpy and one runtime."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import exports
from orchestrator.api.exporting import Wish, export_run
from orchestrator.errors import TokenizerError
from orchestrator.exports._texts import HARD
from orchestrator.routers import load_router
from orchestrator.routers.text.router import TextRouter

ODD = [*HARD, "", " \t\n", "\ud800 half", "x" * 5000, "a" * 600 + "ñ" * 900, "casa", "\0", "e" + "\u0301" * 90]


READER = Path(exports.__file__).with_name("_reader.py")


@pytest.fixture
def reader() -> Any:
    """The program, as a module."""
    pytest.importorskip("onnxruntime")
    return importlib.import_module("orchestrator.exports._reader")


def test_the_reader_needs_numpy_and_one_runtime() -> None:
    tree = ast.parse(READER.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    outside = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert outside == {"numpy", "onnxruntime"}


@pytest.mark.parametrize(
    ("router", "common", "reject"),
    [("paper", False, "best"), ("forest", True, "best"), ("prompt", False, "error"), ("prompt", True, "common")],
)
def test_it_answers_as_the_run_does(world: Any, tmp_path: Path, router: str, common: bool, reject: str) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    run = world.run(f"mixture-{router}-{reject}", router=router, common=common, reject=reject)
    made = export_run(run, Wish("mixture", check=80), tmp_path / "out")
    found = made.checked[run.name]
    assert found["routes"] >= 80
    assert found["prompts"] >= 3
    assert (made.folder / "experts/common").exists() == (reject == "common")
    done = subprocess.run(
        [sys.executable, "mixture.py", "La casa"], cwd=made.folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(("es: ", "en: "))
    assert not list(made.folder.rglob("__pycache__"))


def test_probabilities_of_any_text_are_those_of_the_run(world: Any, reader: Any) -> None:
    from orchestrator.exports import Source
    from orchestrator.exports.mixture import _router

    source = Source.of(world.run("mixture-any-text", router="prompt"))
    arrays, about = _router(source)
    ours, theirs = load_router(source.files.router), reader.PromptRouter(arrays, about)
    assert isinstance(ours, TextRouter)
    for text in ODD:
        expected = ours.route([text])
        shares, rejected = theirs.route(text)
        assert shares == pytest.approx(expected.languages[0].tolist(), abs=1e-12), text
        assert rejected == pytest.approx(float(expected.rejected[0]), abs=1e-12), text


@pytest.mark.parametrize("digits", [False, True])
def test_tokens_of_any_text_are_those_of_the_run(request: pytest.FixtureRequest, reader: Any, digits: bool) -> None:
    world = request.getfixturevalue("world_of_digits" if digits else "world")
    tokens = reader.Tokens(world.folder / "tokenizer", digits)
    for text in ODD:
        whole = text.encode("utf-8", "replace").decode()
        world.tokenizer.encode_special_tokens = True
        ids = world.tokenizer.encode(whole, add_special_tokens=False).ids
        assert tokens.encode(text) == ids, text
        assert tokens.decode(ids) == whole


def test_a_tokenizer_that_the_reader_would_read_otherwise_is_refused(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from tests.unit.exports.conftest import World

    run = World(tmp_path_factory.mktemp("qwen2"), "qwen2").run("refused")
    with pytest.raises(TokenizerError, match="cuts texts as gpt-2 or smollm, and the run's tokenizer as qwen2"):
        export_run(run, Wish("mixture"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_one_expert_keeps_the_common_one_that_rejects_go_to(world: Any, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    run = world.run("mixture-of-one", router="prompt", common=True, reject="common")
    made = export_run(run, Wish("mixture", "es", check=20), tmp_path / "out")
    assert {path.name for path in (made.folder / "experts").iterdir()} == {"es", "common"}
    assert made.checked["es"]["ties"] == 0
