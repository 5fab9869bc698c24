"""What a mixture's files say of it before a model is loaded."""

from __future__ import annotations

from pathlib import Path

from orchestrator.tokens.kept import ABOUT
from serve.files import MixtureFiles


def test_experts_with_tokens_of_their_own_are_not_offered_together(tmp_path: Path) -> None:
    """No token is one of all of them, so `soft` would be refused."""
    experts = {name: tmp_path / "experts" / name for name in ("en", "py")}
    for folder in experts.values():
        folder.mkdir(parents=True)
    files = MixtureFiles(tmp_path, tmp_path, experts)
    assert files.special == ("auto", "soft")
    (experts["py"] / ABOUT).write_text("{}")
    assert files.special == ("auto",)
