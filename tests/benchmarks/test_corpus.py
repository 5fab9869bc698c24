from __future__ import annotations

import pytest

from benchmarks.corpus import Corpus


@pytest.mark.slow
def test_rows_hold_speeds_memory_and_slopes() -> None:
    bench = Corpus(documents=(300, 600), simulated=2000, vocab_size=300)
    rows = {(row.case, row.metric): row for row in bench.rows()}
    for step in ("corpus", "tokens", "blocks"):
        for count in ("300", "600"):
            assert rows[f"{step}, {count} documents", "speed"].ours > 0
            assert rows[f"{step}, {count} documents", "memory"].ours > 10
        assert rows[f"{step}, a further document", "memory"].baseline == 200
    assert rows["deciding on 2,000 documents", "time"].ours > 0
