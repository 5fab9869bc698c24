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
    wish = Wish("ctranslate2", "es", check=120, options={"type": kind})
    found = export_run(world.run(f"ct2-{model}", model, rows=8), wish, tmp_path / "out").checked["es"]
    assert found["prompts"] == 6
    assert found["ties"] == 0 or kind != "float32"


def test_what_its_converter_does_not_know_is_refused(world: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="CTranslate2 can't convert the expert es"):
        export_run(world.run("ct2-phi", "phi"), Wish("ctranslate2", "es"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
