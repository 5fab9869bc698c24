from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening any file is refused, as for a user who may not read it (tests may run as root, who may)."""

    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
