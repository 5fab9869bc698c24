"""Artifacts made with other code or libraries: told by a plan, made again by --strict, accepted by --accept."""

from pathlib import Path

import pytest

from orchestrator.artifacts import Store
from orchestrator.config.loading import load_recipe
from orchestrator.pipeline.graph import code_of, fingerprints, steps_of
from orchestrator.pipeline.plan import make_plan
from orchestrator.provenance import provenance

SMOKE = Path(__file__).resolve().parents[3] / "jobs" / "recipes" / "smoke.yaml"


@pytest.fixture
def recipe():
    return load_recipe(SMOKE)


@pytest.fixture
def store(recipe, tmp_path):
    """A finished run; the tokenizer was made with another version of tokenizers."""
    store, steps = Store(tmp_path / "smoke"), steps_of(recipe)
    known = fingerprints(steps)
    for step in steps:
        made = provenance(code_of(step.stage))
        if step.name == "tokenizer":
            made["versions"] = {**made["versions"], "tokenizers": "0.1"}
        facts = {"stage": type(step.stage).__name__, "inputs": {}, "seconds": 1.0, **made}
        store.publish(step.place, known[step.name], facts, lambda folder: (folder / "file").write_text("made"))
    return store


def test_drift_is_told_and_nothing_is_made_again(recipe, store):
    plan = make_plan(recipe, store)
    assert not plan.missing
    assert list(plan.drifts()) == ["tokenizer"]
    assert plan.drifts()["tokenizer"].libraries[0].startswith("tokenizers 0.1, now ")


def test_strict_makes_it_again_and_what_depends_on_it(recipe, store):
    missing = {planned.name for planned in make_plan(recipe, store, strict=True).missing}
    assert missing == {step.name for step in steps_of(recipe)} - {"corpus"}


def test_strict_leaves_alone_what_is_not_wanted(recipe, store):
    assert not make_plan(recipe, store, until=["corpus"], strict=True).missing


def test_accepted_drift_is_told_no_more(recipe, store):
    assert make_plan(recipe, store).accept() == ["tokenizer"]
    assert make_plan(recipe, store).accept() == []
    assert not make_plan(recipe, store).drifts()
    assert not make_plan(recipe, store, strict=True).missing


def test_a_damaged_record_of_what_was_accepted_is_said(recipe, store):
    (store.root / "accepted.json").write_text("{")
    with pytest.raises(Exception, match=r"accepted\.json"):
        make_plan(recipe, store).drifts()
