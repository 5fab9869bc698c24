"""A mixture that grows, as a user types it: an expert more, one less, one anew, and back again."""

import json
import os
import shutil
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from orchestrator.disk import file_digest
from orchestrator.mixtures.versions import Versions
from orchestrator.models.inference import routed_logits
from orchestrator.models.mixture_files import load_mixture
from orchestrator.reporting import figures
from orchestrator.stages.router import RouterStage
from tests.end_to_end.command import mome
from tests.end_to_end.tiny import RECIPE, WORDS, write_text


def done(*arguments, runs):
    ended = mome(*arguments, runs=runs)
    assert ended.returncode == 0, ended.text
    return ended.text


def refused(*arguments, runs, said):
    """The command ends with a message and exit code 2, and the versions on the disk are what they were."""
    before = state(runs)
    ended = mome(*arguments, runs=runs)
    assert ended.returncode == 2, ended.text
    assert said in ended.text
    assert "Traceback" not in ended.text
    assert state(runs) == before


def state(runs):
    """Digests of all files of the versions, by name."""
    return {str(p): file_digest(p) for p in sorted(runs.glob("*/mixtures/**/*")) if p.is_file()}


def started(text):
    return [line.split("] ")[1].split(":")[0] for line in text.splitlines() if line.endswith(": started")]


def current(runs, name="tiny"):
    number = json.loads((runs / name / "mixtures" / "current.json").read_text())["version"]
    return runs / name / "mixtures" / str(number)


def logits(version, languages):
    """Of the same tokens by the experts of some languages: float32 bits."""
    mixture = load_mixture(version / "mixture")
    ids_BT = torch.arange(4 * 32).reshape(4, 32) % 340
    found = {}
    for language in languages:
        weights_BE = torch.zeros(4, len(mixture.languages))
        weights_BE[:, mixture.languages.index(language)] = 1
        with torch.inference_mode():
            found[language] = routed_logits(mixture, ids_BT, weights_BE)
    return found


def assert_same_bits(one, other, languages):
    ours, theirs = logits(one, languages), logits(other, languages)
    assert all(torch.equal(ours[language], theirs[language]) for language in languages)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for language in WORDS:
        write_text(folder / f"{language}.jsonl", language)
    write_text(folder / "short.jsonl", "es", documents=5, words=3)
    return folder


@pytest.fixture(scope="module")
def finished(texts, tmp_path_factory):
    """The folder of the runs, with a finished one that nobody changes."""
    torch.set_num_threads(1)
    runs = tmp_path_factory.mktemp("runs")
    (runs / "tiny.yaml").write_text(RECIPE.format(name="tiny", texts=texts, setup="ple"))
    done("run", runs / "tiny.yaml", "--local", runs=runs)
    return runs


@pytest.fixture
def drawn(finished, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "runs", copy_function=os.link))


@pytest.fixture
def runs(drawn, monkeypatch):
    """A copy of it whose reports have blank figures: to draw them takes as long as all else that a command does."""
    monkeypatch.setattr(figures, "_svg", lambda *_: '<svg viewBox="0 0 504 259"></svg>')
    return drawn


def add(texts, *more, source="es"):
    return ("expert", "add", "tiny", "--language", "es", "--source", f"files:{texts / source}.jsonl", "--local", *more)


def test_an_expert_is_added_removed_and_taken_back(drawn, texts):
    runs = drawn
    first = current(runs)
    text = done(*add(texts), runs=runs)
    assert set(started(text)) == {
        *("corpus-es", "tokens-es", "blocks-es", "cache-es", "expert-es"),
        *("corpus", "blocks", "router", "mixture", "evaluation", "report"),
    }
    assert "version 2 is current: en, fr, de, es (add es, from version 1)" in text
    second = current(runs)
    assert second.name == "2"
    assert_same_bits(first, second, ["en", "fr", "de"])
    routed = done("generate", "tiny", "la casa está cerca del río donde", "--max-tokens", 3, runs=runs)
    assert "expert es (routed" in routed
    assert "es" in json.loads((runs / "tiny/report/results.json").read_text())["languages"]
    refused(*add(texts), runs=runs, said="mome expert replace tiny es")

    done("expert", "remove", "tiny", "fr", "--local", runs=runs)
    third = current(runs)
    assert_same_bits(second, third, ["en", "de", "es"])
    refused("generate", "tiny", "la maison", "--model", "fr", runs=runs, said="there is no model 'fr'")
    listed = done("mixture", "list", "tiny", runs=runs)
    assert [line.split()[:3] for line in listed.splitlines() if line.strip()[:1].isdigit()] == [
        ["1", "trained", "en,"],
        ["2", "add", "es"],
        ["3", "remove", "fr"],
    ]

    done("mixture", "use", "tiny", 1, runs=runs)
    assert current(runs) == first
    assert "expert fr" in done("generate", "tiny", "la maison", "--model", "fr", "--max-tokens", 2, runs=runs)
    assert "es" not in json.loads((runs / "tiny/report/results.json").read_text())["languages"]
    again = done(*add(texts), runs=runs)
    assert started(again) == []
    assert current(runs) == second


def test_an_expert_is_trained_anew_and_the_others_are_not(runs):
    first = current(runs)
    text = done("expert", "replace", "tiny", "fr", "seed=5", "--local", runs=runs)
    assert started(text) == ["cache-fr", "expert-fr", "mixture", "evaluation", "report"]
    assert_same_bits(first, current(runs), ["en", "de"])
    assert not torch.equal(logits(first, ["fr"])["fr"], logits(current(runs), ["fr"])["fr"])


def test_a_given_teacher_teaches_the_new_expert(runs, texts):
    text = done(*add(texts, "--teacher", current(runs) / "teacher" / "model"), runs=runs)
    assert "teacher-es" in started(text)
    made = json.loads((current(runs) / "expert-es" / "manifest.json").read_text())["inputs"]
    taken = next((runs / "tiny" / "stages" / "teacher-es").iterdir())
    assert made["teacher"].startswith(taken.name)


def test_the_same_command_goes_on_after_an_interruption(runs, texts):
    first, before = current(runs), state(runs)
    with patch.object(RouterStage, "run", side_effect=OSError(28, "no space left on device")):
        refused(*add(texts), runs=runs, said="no space left")
    with patch.object(Versions, "_switch", side_effect=KeyboardInterrupt):
        ended = mome(*add(texts), runs=runs)
    assert ended.returncode == 130
    behind_the_router, beside_it = {"router", "mixture", "evaluation", "report"}, {"cache-es", "expert-es"}
    assert behind_the_router <= set(started(ended.text)) <= behind_the_router | beside_it
    assert current(runs) == first
    assert before.items() <= state(runs).items()
    assert started(done(*add(texts), runs=runs)) == []
    assert current(runs).name == "2"
    assert_same_bits(first, current(runs), ["en", "fr", "de"])


def test_a_plan_starts_nothing(runs, texts):
    before = state(runs)
    text = done(*add(texts, "--plan"), runs=runs)
    assert "expert-es" in text
    assert "expected in all" in text
    assert state(runs) == before
    assert not (runs / "tiny" / "stages" / "expert-es").exists()


def test_a_forced_run_and_lost_stages_leave_earlier_versions(runs, texts):
    first = current(runs)
    before = logits(first, ["en", "fr", "de"])
    done("run", runs / "tiny.yaml", "--local", "--force", "router", runs=runs)
    assert current(runs).name == "2"
    shutil.rmtree(runs / "tiny" / "stages")
    after = logits(first, ["en", "fr", "de"])
    assert all(torch.equal(before[language], after[language]) for language in before)
    done("mixture", "use", "tiny", 1, runs=runs)
    done("generate", "tiny", "the house", "--max-tokens", 2, runs=runs)


def test_a_version_that_lacks_files_is_told_and_mended(runs):
    commands = {
        ("generate", "tiny", "la maison", "--max-tokens", 2): "mixture/experts/fr/model.safetensors",
        ("expert", "remove", "tiny", "de", "--local"): "expert-fr/model/config.json",
    }
    for lost in commands.values():
        (current(runs) / lost).unlink()
    for command, lost in commands.items():
        refused(*command, runs=runs, said=str(current(runs) / lost))
        refused(*command, runs=runs, said="mome mixture use tiny 1")
    done("mixture", "use", "tiny", 1, runs=runs)
    for command in commands:
        done(*command, runs=runs)


def test_bad_input_changes_nothing(runs, texts):
    refused(*add(texts, source="short"), runs=runs, said="filtered out as too short")
    refused(*add(texts, "corpus.min_characters=5", source="short"), runs=runs, said="a block of the mixture's context")
    refused(*add(texts, source="none"), runs=runs, said="none.jsonl")
    refused("expert", "add", "tiny", "--language", "ES!", "--source", "miniwiki", runs=runs, said="no name for a langu")
    refused("expert", "add", "tiny", "--language", "es", "--source", "{type: files", runs=runs, said="not YAML")
    refused("expert", "remove", "tiny", "es", runs=runs, said="no expert for 'es'")
    refused("expert", "replace", "tiny", "es", "seed=3", runs=runs, said="no expert for 'es'")
    refused("mixture", "use", "tiny", 9, runs=runs, said="there is no version 9")
    refused("expert", "remove", "other", "de", runs=runs, said="there is no run 'other'")


def test_an_unfinished_run_can_not_grow(finished, texts, tmp_path):
    done("run", finished / "tiny.yaml", "--local", "--until", "blocks", runs=tmp_path)
    refused(*add(texts), runs=tmp_path, said="not finished: it has no teacher, router, expert-en")
    refused("mixture", "list", "tiny", runs=tmp_path, said="no versions yet")


def test_the_prompt_router_learns_a_language_and_forgets_it(runs, texts, monkeypatch):
    monkeypatch.setattr("orchestrator.evaluation.prompts.TEST_PIECES", 30)
    router = "router: {type: {type: prompt, bits: 12, pieces: 200, calibration_pieces: 50}, reject: fr,"
    recipe = RECIPE.format(name="prompts", texts=texts, setup="ple").replace("router: {", router)
    (runs / "prompts.yaml").write_text(recipe)
    done("run", runs / "prompts.yaml", "--local", runs=runs)

    def languages():
        routed = json.loads(done("route", "prompts", "la casa está cerca del río", "--json", runs=runs))
        return routed["label"], set(routed["probabilities"])

    assert languages()[1] == {"en", "fr", "de", "none"}
    done(
        "expert", "add", "prompts", "--language", "es", "--source", f"files:{texts / 'es.jsonl'}", "--local", runs=runs
    )
    assert languages() == ("es", {"en", "fr", "de", "es", "none"})
    made = json.loads((current(runs, "prompts") / "router" / "manifest.json").read_text())["inputs"]
    assert set(made) == {"blocks", "tokenizer", "corpus"}  # no expert: the router is trained without any
    done("mixture", "use", "prompts", 1, runs=runs)
    assert languages()[1] == {"en", "fr", "de", "none"}
    refused("expert", "remove", "prompts", "fr", "--local", runs=runs, said="'fr' is no policy and no language here")
    done("expert", "remove", "prompts", "fr", "router.reject=best", "--local", runs=runs)
    assert languages()[1] == {"en", "de", "none"}
    assert json.loads((current(runs, "prompts") / "router" / "router.json").read_text())["policy"]["reject"] == "best"


@pytest.mark.parametrize("setup", ["jeet", "{type: moe_ce, combiner: gate}"])
def test_experts_of_joint_mixtures_are_added_removed_and_replaced(runs, texts, setup):
    (runs / "joint.yaml").write_text(RECIPE.format(name="joint", texts=texts, setup=setup))
    done("run", runs / "joint.yaml", "--local", runs=runs)
    first = current(runs, "joint")
    source = ("--source", f"files:{texts / 'es.jsonl'}")
    text = done("expert", "add", "joint", "--language", "es", *source, "--local", runs=runs)
    assert {"joint", "cache-es", "mixture"} <= set(started(text))
    second = current(runs, "joint")
    assert_same_bits(first, second, ["en", "fr", "de"])
    done("expert", "replace", "joint", "fr", "seed=5", "--local", runs=runs)
    third = current(runs, "joint")
    assert_same_bits(second, third, ["en", "de", "es"])
    assert not torch.equal(logits(second, ["fr"])["fr"], logits(third, ["fr"])["fr"])
    done("expert", "remove", "joint", "en", "--local", runs=runs)
    assert_same_bits(third, current(runs, "joint"), ["fr", "de", "es"])
    refused(
        *("expert", "replace", "joint", "fr", "experts.model.width=32", "--local"), runs=runs, said="experts.model is"
    )
