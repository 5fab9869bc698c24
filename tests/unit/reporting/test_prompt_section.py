from __future__ import annotations

from orchestrator.reporting import prompt_section
from orchestrator.reporting.figures import Figure
from orchestrator.reporting.tables import Table

BUCKET = {"count": 40, "accuracy": 0.95, "accuracy_interval": [0.9, 0.98], "ece": 0.01, "rejected": 0.05}
PROMPT = {
    "languages": ["en", "fr"],
    "threshold": 0.5,
    "buckets": {length: BUCKET | {"confusion": [[19, 1], [1, 19]]} for length in ("1 word", "2 words")},
    "reliability": [
        {"confidence": 0.6, "accuracy": 0.5, "count": 4},
        {"confidence": 0.99, "accuracy": 1.0, "count": 36},
    ],
    "coverage": [{"coverage": 0.95, "error": 0.01, "outside_rejected": 0.9, "threshold": 0.4}],
    "outside": {"unseen/bg": {"count": 10, "rejected": 1.0}},
}
TIMING = {"prompt": {"microseconds": 12.5, "bytes": 3_000_000.0}}


def test_a_prompt_router_has_its_tables_and_figures() -> None:
    found = prompt_section.blocks({"prompt": PROMPT, "timing": TIMING})
    tables = {block.caption: block for block in found if isinstance(block, Table)}
    assert list(tables) == [
        *("Prompt router by length of the text", "Coverage against error"),
        *("Text that is for no expert", "Cost of routing"),
    ]
    assert [cell.text for cell in tables["Prompt router by length of the text"].rows[0]][:2] == ["1 word", "40"]
    assert [block.name for block in found if isinstance(block, Figure)] == ["confusion-1-word", "reliability"]


def test_runs_without_one_have_costs_at_most() -> None:
    assert prompt_section.blocks({"prompt": None, "timing": None}) == ()
    assert len(prompt_section.blocks({"timing": TIMING})) == 1
