from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import RouterConfig
from orchestrator.corpus.document import Document
from orchestrator.corpus.storage import TableWriter, split_file, to_table
from orchestrator.environment import Environment
from orchestrator.errors import CorpusError, RecipeError
from orchestrator.routers import Policy, TextRouter, TokenRouter, load_router
from orchestrator.stages.base import Expected
from orchestrator.stages.router import RouterStage
from orchestrator.tokens.tokenizer import save_tokenizer, train_tokenizer

CONTEXT = 32
LANGUAGES = ("en", "fr", "py")


def write_blocks(folder: Path, blocks: dict[str, dict[str, int]]) -> Path:
    """Streams of languages that share part of their tokens; as many blocks as asked for by split and language."""
    rng = np.random.default_rng(0)
    splits: dict[str, dict[str, dict[str, int]]] = {}
    for split, counts in blocks.items():
        (folder / split).mkdir(parents=True)
        splits[split] = {}
        for i, language in enumerate(LANGUAGES):
            tokens = rng.integers(10 + 50 * i, 110 + 50 * i, counts[language] * CONTEXT + 1, dtype=np.uint16)
            tokens.tofile(folder / split / f"{language}.bin")
            splits[split][language] = {"tokens": len(tokens), "blocks": counts[language]}
    about = {"context": CONTEXT, "dtype": "uint16", "vocab_size": 300, "languages": list(LANGUAGES), "splits": splits}
    (folder / "blocks.json").write_text(json.dumps(about))
    return folder


@pytest.fixture
def blocks(tmp_path: Path) -> Path:
    counts = {"train": {"en": 60, "fr": 50, "py": 20}, "test": {"en": 9, "fr": 8, "py": 7}}
    return write_blocks(tmp_path / "blocks", counts)


def write_corpus(folder: Path) -> Path:
    """Documents of words that tell the language, in every split."""
    rng = np.random.default_rng(1)
    counts: dict[str, dict] = {}
    for language in LANGUAGES:
        words = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 6)) for _ in range(80)]
        splits = {}
        for split, count in (("train", 40), ("validation", 8), ("test", 8)):
            texts = [" ".join(rng.choice(words, 120)) for _ in range(count)]
            found = [Document(f"{split}{i}", "", text, "made", "") for i, text in enumerate(texts)]
            with TableWriter(split_file(folder, split, language)) as file:
                file.write(to_table(found))
            splits[split] = {"characters": sum(map(len, texts))}
        counts[language] = {"splits": splits}
    (folder / "corpus.json").write_text(json.dumps({"languages": counts}))
    return folder


def stage(**router: object) -> RouterStage:
    return RouterStage(router=RouterConfig(**{"sequences_per_language": 40, **router}), languages=LANGUAGES, seed=3)


def run(stage: RouterStage, blocks: Path, folder: Path) -> dict:
    out = folder / "out"
    out.mkdir(parents=True)
    stage.run({"blocks": blocks, "tokenizer": blocks}, out, Environment(work=folder / "work"))
    return json.loads((out / "metrics.json").read_text())


def test_trains_measures_and_stores(blocks: Path, tmp_path: Path) -> None:
    metrics = run(stage(type={"type": "paper", "classifier": "sgd"}), blocks, tmp_path)
    assert metrics["training_sequences"] == {"en": 40, "fr": 40, "py": 20}
    assert set(metrics["table3_router"]) == {"logistic_regression", "sgd", "random_forest"}
    for name, row in metrics["table3_router"].items():
        assert set(row) == {"accuracy", "precision", "recall", "f1"}
        assert row["accuracy"] == metrics["classifiers"][name]["accuracy"] > 0.9
        assert np.sum(metrics["classifiers"][name]["confusion"], axis=1).tolist() == [9, 8, 7]
        assert metrics["classifiers"][name]["lengths"]["16"]["count"] == 24
        assert "64" not in metrics["classifiers"][name]["lengths"], "longer than the context"
    out = tmp_path / "out"
    assert json.loads((out / "router.json").read_text())["classifier"] == "sgd"
    assert load_router(out).languages == LANGUAGES
    assert "accuracy" in (tmp_path / "work" / "metrics.jsonl").read_text()


def test_the_same_seed_gives_the_same_files(blocks: Path, tmp_path: Path) -> None:
    for name in "ab":
        run(stage(), blocks, tmp_path / name)
    for path in (tmp_path / "a" / "out").iterdir():
        if path.name == "timing.json":
            continue
        assert path.read_bytes() == (tmp_path / "b" / "out" / path.name).read_bytes()


def test_short_training_sequences_are_pieces_of_blocks(blocks: Path, tmp_path: Path) -> None:
    metrics = run(stage(type={"type": "paper", "sequence_tokens": 10}), blocks, tmp_path)
    assert metrics["sequence_tokens"] == 10
    assert metrics["training_sequences"] == {"en": 40, "fr": 40, "py": 40}


def test_sequences_longer_than_the_context_are_refused(blocks: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="longer than the context of 32"):
        run(stage(type={"type": "paper", "sequence_tokens": 33}), blocks, tmp_path)


def test_and_before_anything_runs() -> None:
    expected = Expected(300, CONTEXT, len(LANGUAGES), None, PluginSpec(type="gpt2_nano"))
    with pytest.raises(RecipeError, match="longer than the context of 32"):
        stage(type={"type": "paper", "sequence_tokens": 33}).cost({"blocks": None, "tokenizer": None}, expected)
    stage(type={"type": "paper", "sequence_tokens": 32}).cost({"blocks": None, "tokenizer": None}, expected)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_language_without_blocks_is_refused(tmp_path: Path, split: str) -> None:
    counts = {name: {"en": 12, "fr": 0 if name == split else 12, "py": 12} for name in ("train", "test")}
    with pytest.raises(CorpusError, match=f"{split} split of 'fr'"):
        run(stage(), write_blocks(tmp_path / "blocks", counts), tmp_path)


def test_the_prompt_router_beside_the_papers(blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.evaluation.prompts.TEST_PIECES", 60)
    options = {"type": "prompt", "bits": 12, "pieces": 600, "calibration_pieces": 50}
    made = stage(type=options, reject="fr", reject_above=0.7)
    save_tokenizer(train_tokenizer([["some words of a text"]], 259), tmp_path / "tokenizer")
    inputs = {"blocks": blocks, "tokenizer": tmp_path / "tokenizer", "corpus": write_corpus(tmp_path / "corpus")}
    out = tmp_path / "out"
    out.mkdir()
    made.run(inputs, out, Environment(work=tmp_path / "work"))
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["table3_router"]) == {"logistic_regression", "sgd", "random_forest", "prompt"}
    assert metrics["prompt"]["threshold"] == 0.7
    assert metrics["prompt"]["buckets"]["2 words"]["accuracy"] > 0.9
    assert set(metrics["prompt"]["classifiers"]) == {"logistic_regression", "sgd", "random_forest"}
    assert 0 <= metrics["prompt"]["classifiers"]["sgd"]["2 words"]["accuracy"] <= 1
    assert "generated/sql" in metrics["prompt"]["learned_outside"]
    timing = json.loads((out / "timing.json").read_text())
    assert set(timing) == set(metrics["table3_router"])
    assert timing["prompt"]["text"]["alone"] > 0
    router = load_router(out)
    assert isinstance(router, TextRouter)
    assert router.languages == LANGUAGES
    assert Policy.of(out) == Policy("fr", 0.7)
    assert isinstance(load_router(out, "sgd"), TokenRouter)
    assert made.external() == {}


def test_training_the_prompt_router_takes_time_that_a_plan_says() -> None:
    expected = Expected(300, CONTEXT, len(LANGUAGES), None, PluginSpec(type="gpt2_nano"))
    papers_own = stage().cost({}, expected).seconds
    assert 1 < papers_own < stage(sequences_per_language=9000).cost({}, expected).seconds
    assert stage(type={"type": "prompt", "pieces": 1000}).cost({}, expected).seconds > papers_own + 1


ANYWHERE = """
import sys

seen = []
sys.addaudithook(lambda event, arguments: seen.append(str(arguments[0])) if event in READS else None)
READS = ("open", "os.listdir", "os.scandir", "glob.glob")

import gettext
import json
from pathlib import Path

from orchestrator.environment import Environment
from orchestrator.evaluation import prompts
from orchestrator.stages.router import RouterStage

stage, inputs, out, catalogues = json.loads(sys.argv[1])
gettext.bindtextdomain("messages", catalogues)
prompts.TEST_PIECES = 60
inputs = {name: Path(path) for name, path in inputs.items()}
RouterStage.model_validate(stage).run(inputs, Path(out, "out"), Environment(work=Path(out, "work")))
print(json.dumps([path for path in seen if catalogues in path or "share/locale" in path or path.endswith(".mo")]))
"""
"""Runs the stage, and prints which message catalogues it has read."""


@pytest.mark.long
def test_it_is_the_same_on_every_machine(blocks: Path, tmp_path: Path) -> None:
    """Whatever its locale is, and whatever message catalogues there are: damaged, strange or none."""
    save_tokenizer(train_tokenizer([["some words of a text"]], 259), tmp_path / "tokenizer")
    inputs = {"blocks": blocks, "tokenizer": tmp_path / "tokenizer", "corpus": write_corpus(tmp_path / "corpus")}
    options = {"type": "prompt", "bits": 12, "pieces": 200, "calibration_pieces": 50}
    configuration = stage(type=options).model_dump(mode="json")
    damaged = tmp_path / "locale"
    for number, language in enumerate(("mn", "es", "en", "xx", "C")):
        (damaged / language / "LC_MESSAGES").mkdir(parents=True)
        (damaged / language / "LC_MESSAGES" / "messages.mo").write_bytes(b"\xde\x12\x04\x95"[: 5 - number] + b"\0" * 9)
    strange = {
        "LANG": "mn_MN.UTF-8",
        "LC_ALL": "mn_MN.UTF-8",
        "LANGUAGE": "mn:es:xx",
        "TEXTDOMAINDIR": str(damaged),
        "LOCPATH": str(damaged),
        "NLSPATH": str(damaged),
        "TZ": "Asia/Ulaanbaatar",
        "HOME": str(tmp_path / "nowhere"),
        "PYTHONUTF8": "0",
    }
    machines = {"plain": {"LANG": "C"}, "strange": strange}
    made = {}
    for name, variables in machines.items():
        out = tmp_path / name
        (out / "out").mkdir(parents=True)
        catalogues = str(damaged if name == "strange" else tmp_path / "none")
        told = json.dumps([configuration, {key: str(path) for key, path in inputs.items()}, str(out), catalogues])
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG"))}
        command = [sys.executable, "-c", ANYWHERE, told]
        ended = subprocess.run(command, env={**kept, **variables}, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout) == [], "message catalogues were read"
        files = sorted(path for path in (out / "out").iterdir() if path.name != "timing.json")
        made[name] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert made["plain"] == made["strange"]
    assert {"router.json", "metrics.json", "prompt.safetensors"} <= set(made["plain"])


def test_names_of_languages_are_matched_with_what_ships(
    blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Polish expert and one for Perl, and one of a name that nothing ships of, which the log says."""
    renamed = dict(zip(LANGUAGES, ("polish", "medical", "pl"), strict=True))
    about = json.loads((blocks / "blocks.json").read_text())
    corpus = write_corpus(tmp_path / "corpus")
    for path in [*blocks.rglob("*.bin"), *corpus.rglob("*.parquet")]:
        path.rename(path.with_stem(renamed[path.stem]))
    for splits in about["splits"].values():
        splits |= {renamed[language]: splits.pop(language) for language in LANGUAGES}
    (blocks / "blocks.json").write_text(json.dumps(about | {"languages": list(renamed.values())}))
    counts = json.loads((corpus / "corpus.json").read_text())["languages"]
    (corpus / "corpus.json").write_text(json.dumps({"languages": {renamed[name]: counts[name] for name in LANGUAGES}}))
    save_tokenizer(train_tokenizer([["some words of a text"]], 259), tmp_path / "tokenizer")
    monkeypatch.setattr("orchestrator.evaluation.prompts.TEST_PIECES", 60)
    options = {"type": "prompt", "bits": 12, "pieces": 200, "calibration_pieces": 50}
    made = RouterStage(
        router=RouterConfig(sequences_per_language=40, type=options),
        languages=tuple(renamed.values()),
        code_languages=("pl",),
        seed=3,
    )
    (tmp_path / "out").mkdir()
    inputs = {"blocks": blocks, "tokenizer": tmp_path / "tokenizer", "corpus": corpus}
    made.run(inputs, tmp_path / "out", Environment(work=tmp_path / "work"))
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["prompt"]
    assert {name: row["kinds"] for name, row in found["shipped"].items()} == {
        "polish": ["phrases/pl"],
        "medical": [],
        "pl": ["code/pl"],
    }
    assert not {"phrases/pl", "code/pl"} & set(found["learned_outside"])
    assert {"phrases/en", "code/py"} <= set(found["learned_outside"])
    said = (tmp_path / "work" / "metrics.jsonl").read_text()
    assert "warning: no shipped text for 'medical'" in said
    assert "texts that ship of the tag pl" in said
    assert "texts that ship of the tag .pl" in said
