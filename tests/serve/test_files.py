"""What a mixture's files say of it before a model is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.errors import ServingError
from orchestrator.tokens.kept import ABOUT
from serve.files import MixtureFiles
from tests.serve.conftest import CONTEXT, write_tokenizer


def test_experts_with_tokens_of_their_own_are_not_offered_together(tmp_path: Path) -> None:
    """No token is one of all of them, so `soft` would be refused."""
    experts = {name: tmp_path / "experts" / name for name in ("en", "py")}
    for folder in experts.values():
        folder.mkdir(parents=True)
    files = MixtureFiles(tmp_path, tmp_path, experts)
    assert files.special == ("auto", "soft")
    (experts["py"] / ABOUT).write_text("{}")
    assert files.special == ("auto",)


def test_an_expert_that_comes_later_has_the_mixtures_tokenizer_and_context(
    run_folder: Path, padded_model: Path, tmp_path: Path
) -> None:
    files = MixtureFiles.of(run_folder)
    files.check_newcomer(padded_model)
    (tmp_path / "empty").mkdir()
    foreign, short = (shutil.copytree(padded_model, tmp_path / name) for name in ("foreign", "short"))
    write_tokenizer(foreign, vocab_size=300)
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**config, "n_positions": CONTEXT // 2}))
    for name, said in (("empty", r"config\.json"), ("foreign", "another tokenizer"), ("short", "32 tokens")):
        with pytest.raises(ServingError, match=said) as refused:
            files.check_newcomer(tmp_path / name)
        assert refused.value.where == str(tmp_path / name)
