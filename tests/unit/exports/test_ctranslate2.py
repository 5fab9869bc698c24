"""Experts for CTranslate2: the same tokens and continuations there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.exporting import Wish, export_run
from orchestrator.errors import ModelError

pytest.importorskip("ctranslate2")


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
@pytest.mark.parametrize("model", ["gpt2", "mistral"])
def test_it_continues_alike(world: Any, tmp_path: Path, model: str, kind: str) -> None:
    if (model, kind) == ("mistral", "int8") and "vnni" not in Path("/proc/cpuinfo").read_text("utf-8"):
        pytest.skip("CTranslate2 4.8.5 is further than a tie from it on processors without instructions for int8")
    wish = Wish("ctranslate2", "es", check=120, options={"type": kind})
    found = export_run(world.run(f"ct2-{model}", model, rows=8), wish, tmp_path / "out").checked["es"]
    assert found["prompts"] == 6
    assert found["ties"] == 0 or kind != "float32"


def test_a_model_without_positions_continues_alike(world: Any, tmp_path: Path) -> None:
    found = export_run(world.run("ct2-bloom", "bloom"), Wish("ctranslate2", "es", check=120), tmp_path / "out")
    assert found.checked["es"]["prompts"] == 6


def test_what_its_converter_does_not_know_is_refused(world: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="CTranslate2 can't convert the expert es"):
        export_run(world.run("ct2-phi", "phi"), Wish("ctranslate2", "es"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("model", "said"), [("sliding", "last 8 tokens alone"), ("scaled", "query_pre_attn_scalar")])
def test_what_it_would_compute_otherwise_without_a_word_is_refused(
    world: Any, tmp_path: Path, model: str, said: str
) -> None:
    with pytest.raises(ModelError, match=f"CTranslate2 can't hold the expert es[\\s\\S]*{said}"):
        export_run(world.run(f"ct2-{model}", model), Wish("ctranslate2", "es"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
