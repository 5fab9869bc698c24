"""`mome export` as it is typed: what it prints, and how it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from orchestrator import load_run, plugins
from orchestrator.exports import Export


def test_it_says_what_was_compared_and_where_it_is(mome: Any, run: Path, tmp_path: Path) -> None:
    ended = mome("export", run, "--to", "hf", "--expert", "es", "--out", tmp_path / "out", "--check", "12")
    assert ended.code == 0, ended.err
    assert "es: tool transformers" in ended.out
    assert "texts 12, prompts 1, ties 0" in ended.out
    assert str(tmp_path / "out") in ended.out.replace("\n", "")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--to", "hff"), 'did you mean "hf"?'),
        (("--to", "gguf", "type=q9"), "option 'type' of 'gguf'"),
        (("--to", "hf", "--expert", "fr"), "there is no model 'fr'"),
        (("--to", "hf", "--expert", "es", "--all"), "give --expert or --all"),
        (("--to", "hf"), "--expert en or es"),
        (("--to", "hf", "--all", "--public"), "--push USER/NAME"),
    ],
)
def test_what_can_t_be_is_refused(mome: Any, run: Path, tmp_path: Path, asked: tuple[str, ...], said: str) -> None:
    pytest.importorskip("gguf")
    ended = mome("export", run, "--out", tmp_path / "out", *asked)
    assert ended.code == 2
    assert said in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file/out", "link/out", "/proc/out"])
def test_a_place_that_can_t_be_written_is_told_with_its_option(
    mome: Any, run: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    ended = mome("export", run, "--to", "hf", "--expert", "es", "--out", tmp_path / place)
    assert ended.code == 2
    assert "the export can't be written" in ended.err
    assert "--out FOLDER" in ended.err


@pytest.mark.parametrize("to", ["hf", "gguf", "ctranslate2", "harness"])
def test_a_tool_that_holds_one_model_gets_no_combined_expert(
    mome: Any, combined: Path, tmp_path: Path, to: str
) -> None:
    for package in plugins.find("exports", to).packages:
        pytest.importorskip(package)
    ended = mome("export", combined, "--to", to, "--expert", "es", "--out", tmp_path / "out")
    assert ended.code == 2
    assert "computes beside a common expert (MoE-CE)" in ended.err
    assert "--no-common" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_from_python(run: Path, tmp_path: Path) -> None:
    made = load_run(run).export("hf", tmp_path / "out", "es", check=12)
    assert made.checked["es"]["prompts"] == 1
    assert AutoConfig.from_pretrained(made.folder).n_embd == 32


@pytest.mark.parametrize("name", plugins.available("exports"))
def test_every_format_names_its_tool(name: str) -> None:
    cls = plugins.find("exports", name)
    assert issubclass(cls, Export)
    assert cls.tool
