from __future__ import annotations

import pytest

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
    "coverage": [
        {"coverage": 1.0, "error": 0.02, "outside_rejected": 0.5, "threshold": 1.0},
        {"coverage": 0.95, "error": 0.01, "outside_rejected": 0.9, "threshold": 0.4},
    ],
    "outside": {
        "unseen/bg": {"count": 10, "rejected": 1.0},
        "unseen/sk": {"count": 10, "rejected": 0.5},
        "seen/it": {"count": 10, "rejected": 0.9},
        "unseen/.f90": {"count": 10, "rejected": 0.2},
        "generated/sql": {"count": 10, "rejected": 0.9},
    },
    "classifiers": {
        "sgd": {length: {"accuracy": 0.5, "accuracy_interval": [0.4, 0.6]} for length in ("1 word", "2 words")},
    },
    "learned_outside": ["phrases/ar", "phrases/es", "generated/sql"],
    "shipped": {
        "english": {"kinds": ["phrases/en"], "learned": 1234, "with": []},
        "pt-br": {"kinds": ["phrases/pt"], "learned": 0, "with": ["pt-pt"]},
        "medical": {"kinds": [], "learned": 0, "with": []},
    },
}
TIMING = {"prompt": {"microseconds": 12.5, "alone": 40, "bytes": 3_000_000.0, "text": {"microseconds": 7, "alone": 30}}}
TEXT = {
    "texts": {"learned": 4321, "tested": 1234},
    "tags": {"learned": {"natural": 80, "code": 90}, "tested": {"natural": 50, "code": 40}},
    "registers": {"learned": {"conversation": 4000, "snippets": 321}, "tested": {"snippets": 1234}},
    "licences": ["CC0-1.0"],
    "origins": ["written for this project"],
}
FACTS = {"prompt": PROMPT, "timing": TIMING, "used": "prompt", "text": TEXT}


def captions(found: tuple[Table | Figure, ...]) -> dict[str, Table]:
    return {block.caption: block for block in found if isinstance(block, Table)}


def test_a_prompt_router_has_its_tables_and_figures() -> None:
    found = prompt_section.blocks(FACTS)
    tables = captions(found)
    assert list(tables) == [
        "Accuracy on what people type, by length",
        "The prompt router by length",
        "Coverage against error",
        "Text of no language: what is rejected of it",
        "The third training set: text that ships",
        "Text of no language that rejection was learned from",
        "Text that ships for the languages",
        "Cost of routing",
    ]
    assert [block.name for block in found if isinstance(block, Figure)] == ["confusion-short", "reliability"]
    accuracy = tables["Accuracy on what people type, by length"]
    assert accuracy.columns == ("length", "Prompt router", "SGD classifier")
    assert [(cell.text, cell.note) for cell in accuracy.rows[0]] == [
        ("1 word", ""),
        ("95.00\N{NO-BREAK SPACE}%", "[90.00\N{NO-BREAK SPACE}%, 98.00\N{NO-BREAK SPACE}%]"),
        ("50.00\N{NO-BREAK SPACE}%", "[40.00\N{NO-BREAK SPACE}%, 60.00\N{NO-BREAK SPACE}%]"),
    ]
    assert [cell.text for cell in tables["The prompt router by length"].rows[0]][:2] == ["1 word", "40"]


def test_a_threshold_is_recommended_and_sources_are_named() -> None:
    tables = captions(prompt_section.blocks(FACTS))
    coverage = tables["Coverage against error"]
    assert "To keep 95\N{NO-BREAK SPACE}%, set it to 0.40" in coverage.note
    assert [row[0].strong for row in coverage.rows] == [False, True]
    outside = tables["Text of no language: what is rejected of it"]
    said = [" | ".join(cell.text for cell in row).replace("\N{NO-BREAK SPACE}", " ") for row in outside.rows]
    assert said == [
        "languages that it has never seen | sentences | 20 | 75.0 % | bg 100 %, sk 50 %",
        "languages that it has learned to reject | sentences | 10 | 90.0 % | it 90 %",
        "code that it has never seen | snippets | 10 | 20.0 % | .f90 20 %",
        "data and noise | made by rule | 10 | 90.0 % | sql 90 %",
    ]
    learned = tables["Text of no language that rejection was learned from"]
    assert [[cell.text for cell in row] for row in learned.rows] == [
        ["sentences written for this project, in", "2", "ar, es"],
        ["made by rule", "1", "sql"],
    ]
    shipped = tables["Text that ships for the languages"]
    assert [[cell.text for cell in row] for row in shipped.rows] == [
        ["english", "en", "1,234 texts learned"],
        ["pt-br", "pt", "neither learned nor rejected: also that of pt-pt"],
        ["medical", "none", "nothing ships of this name"],
    ]


@pytest.mark.parametrize(
    ("reject", "said"),
    [
        ("best", "goes to the most probable expert all the same"),
        ("common", "goes to the mixture's common expert"),
        ("error", "is refused"),
        ("fr", "goes to expert fr"),
    ],
)
def test_sentences_say_what_a_rejection_is(reject: str, said: str) -> None:
    lengths, rejection, *_ = prompt_section.sentences(FACTS, {"reject": reject})
    assert "95.00\N{NO-BREAK SPACE}% of those of 1 word" in lengths
    assert said in rejection
    assert "20.0\N{NO-BREAK SPACE}% of code that it has never seen" in rejection
    assert prompt_section.sentences({"prompt": None}, {}) == ()


def test_the_text_that_ships_is_named_as_a_training_set() -> None:
    *_, training, warning = prompt_section.sentences(FACTS, {})
    assert "a third training set" in training
    assert "4,321 sentences and snippets of 80 languages and 90 kinds of code" in training
    assert "written for this project (CC0-1.0)" in training
    assert warning.startswith("Warning: no text ships for medical;")
    found = captions(prompt_section.blocks(FACTS))["The third training set: text that ships"]
    rows = [[cell.text.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in found.rows]
    assert rows == [
        ["training", "4,321", "80", "90", "conversation 4,000, snippets 321"],
        ["tests of rejection", "1,234", "50", "40", "snippets 1,234"],
    ]
    assert "CC0-1.0" in found.note
    without = prompt_section.blocks({**FACTS, "text": None})
    assert len(without) == len(prompt_section.blocks(FACTS)) - 1


def test_costs_of_a_router_of_text_are_told_for_text_too() -> None:
    timing = {"sgd": {"microseconds": 9.0, "bytes": 2_000.0}, **TIMING}
    rows = captions(prompt_section.blocks({"timing": timing}))["Cost of routing"].rows
    assert [cell.text for cell in rows[0]][:5] == ["SGD classifier", "9", "–", "–", "–"]
    assert [cell.text for cell in rows[1]][:5] == ["Prompt router", "12.5", "40", "7", "30"]


def test_runs_without_one_have_costs_at_most() -> None:
    assert prompt_section.blocks({"prompt": None, "timing": None}) == ()
    assert len(prompt_section.blocks({"timing": TIMING})) == 1
