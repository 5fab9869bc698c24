"""What each stage makes of a tiny input is what it made when its `version` was set.

A test that fails here says: the change of code (or of a default) at hand changes results. If it is meant to, raise the
`version` of the stage, or of the plug-in, and record: `pytest tests/golden --record`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import provenance
from tests.golden.defaults import defaults
from tests.golden.summary import summarise
from tests.golden.world import run_all

RECORDS = Path(__file__).parent / "records"
LIBRARIES = ("torch", "transformers", "tokenizers", "scikit-learn", "numpy")
STAGES = (
    *("Corpus", "Tokenizer", "Tokens", "Blocks", "Teacher", "Cache", "Expert", "Joint", "Router", "Mixture"),
    *("Evaluation", "Student", "Merged", "Measure", "LowRank"),
    *("GrownCorpus", "GrownBlocks", "AddedBlocks", "RemainingExperts", "Vocabulary", "Alignment"),
)
TOLERANCE = 2e-3
"""Relative, of sums in another order and of another processor's instructions, over six steps of training."""


def libraries() -> str:
    """Minor versions of the libraries that compute: each combination has records of its own."""
    found = provenance.versions()
    return ", ".join(f"{name} {'.'.join(found[name].split('+')[0].split('.')[:2])}" for name in LIBRARIES)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return run_all(tmp_path_factory.mktemp("golden"))


def recorded(name: str, now: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    """The record for these libraries; `--record` writes it."""
    file = RECORDS / f"{name}.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if request.config.getoption("--record"):
        RECORDS.mkdir(exist_ok=True)
        file.write_text(json.dumps({**known, libraries(): now}, indent=1) + "\n", encoding="utf-8")
        return now
    if libraries() not in known:
        pytest.skip(f"nothing recorded for {libraries()}: pytest tests/golden --record, on unchanged code")
    return known[libraries()]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_makes_what_it_made_in_its_version(name, made, request):
    stage, folder = made[f"{name}Stage"]
    now = {"version": stage.version, **summarise(folder)}
    known = recorded(name, now, request)
    hint = f"{name}Stage makes something else: raise its version, then record (see this file's docstring)"
    assert known["version"] == now["version"], "record the new version"
    assert known["values"].keys() == now["values"].keys(), hint
    assert now["values"] == pytest.approx(known["values"], rel=TOLERANCE, abs=TOLERANCE), hint
    assert known["exact"] == now["exact"], hint


def test_every_kind_of_stage_has_a_record(made):
    assert {f"{name}Stage" for name in STAGES} == set(made)


def test_no_default_has_changed_without_a_version(request):
    now = json.loads(json.dumps(defaults()))
    known = recorded("defaults", now, request)
    changed = {key: (known[key], now[key]) for key in known.keys() & now.keys() if known[key] != now[key]}
    assert not changed, "a recipe that leaves these out means something else now: raise versions, then record"
    assert now.keys() == known.keys(), "options came or went: record them"


@pytest.mark.long
def test_an_older_processor_makes_the_same():
    """Sums in the order of its instructions: weights of a logistic regression differed there in their last bits."""
    older = {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OPENBLAS_CORETYPE": "Nehalem",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not long", __file__]
    environment = {**os.environ, **older}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
