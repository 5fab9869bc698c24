from __future__ import annotations

import numpy as np

from orchestrator.routers.text.accidents import augment, without_diacritics


def test_accidents_are_seeded_and_mostly_mild() -> None:
    pieces = ["Élan vital et déjà vu"] * 400
    once = augment(pieces, np.random.default_rng(1), prose=True, names=["London"])
    assert once == augment(pieces, np.random.default_rng(1), prose=True, names=["London"])
    kinds = set(once)
    assert "élan vital et déjà vu" in kinds
    assert "Elan vital et deja vu" in kinds
    assert any("London" in piece for piece in kinds)
    assert any("... " in piece for piece in kinds)
    assert 0.3 < np.mean([piece == pieces[0] for piece in once]) < 0.7
    assert without_diacritics("Größe çà") == "Große ca"
