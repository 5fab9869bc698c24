from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import EvaluationConfig, RouterConfig
from orchestrator.environment import Environment
from orchestrator.errors import ArtifactError, CorpusError
from orchestrator.models import save_model
from orchestrator.stages import evaluation
from orchestrator.stages.base import Expected
from orchestrator.stages.evaluation import EvaluationStage
from orchestrator.stages.mixture import MixtureStage
from orchestrator.stages.router import RouterStage
from orchestrator.tokens.tokenizer import byte_lengths, decode, load_tokenizer, save_tokenizer, train_tokenizer

EXPECTED = Expected(
    vocab_size=512, context=64, languages=2, tokens_per_language=None, teacher=PluginSpec(type="gpt2_nano")
)

CONTEXT = 16
LANGUAGES = ("en", "py")
COUNTS = {"en": 14, "py": 12}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Blocks of two languages, a tokenizer, a router and three random models."""
    root = tmp_path_factory.mktemp("artifacts")
    tokenizer = train_tokenizer([["the cat and the dog and the mat"] * 4, ["def f(x): return x"] * 4], 265)
    save_tokenizer(tokenizer, root / "tokenizer")
    rng, splits = np.random.default_rng(0), {}
    for split in ("train", "test"):
        (root / "blocks" / split).mkdir(parents=True)
        for i, language in enumerate(LANGUAGES):
            stream = rng.integers(3 + 60 * i, 200 + 60 * i, COUNTS[language] * CONTEXT + 5, dtype=np.uint16)
            stream.tofile(root / "blocks" / split / f"{language}.bin")
            np.save(
                root / "blocks" / split / f"{language}.works.npy", np.arange(COUNTS[language], dtype=np.uint64) // 2
            )
            splits.setdefault(split, {})[language] = {"tokens": len(stream), "blocks": COUNTS[language]}
    about = {"context": CONTEXT, "dtype": "uint16", "vocab_size": 265, "languages": list(LANGUAGES), "splits": splits}
    (root / "blocks" / "blocks.json").write_text(json.dumps(about))
    for seed, role in enumerate(("teacher", "expert-en", "expert-py")):
        torch.manual_seed(seed)
        config = GPT2Config(vocab_size=265, n_positions=CONTEXT, n_embd=16, n_layer=1, n_head=2, initializer_range=0.2)
        save_model(GPT2LMHeadModel(config), root / "tokenizer", root / role / "model")
    found = {role: root / role for role in ("blocks", "tokenizer", "teacher", "expert-en", "expert-py")}
    (root / "router").mkdir()
    router = RouterStage(router=RouterConfig(), languages=LANGUAGES, seed=0)
    router.run(found, root / "router", Environment(work=root / "work"))
    return found | {"router": root / "router", "mixture": mix(found | {"router": root / "router"}, root / "mixture")}


def mix(inputs: dict[str, Path], out: Path, languages: tuple[str, ...] = LANGUAGES) -> Path:
    """A mixture of independent experts."""
    out.mkdir(parents=True)
    MixtureStage(setup=PluginSpec(type="ple"), languages=languages).run(inputs, out, Environment(work=out / "work"))
    return out


def evaluate(inputs: dict[str, Path], folder: Path, env: Environment | None = None, **options: object) -> dict:
    out = folder / "out"
    out.mkdir(parents=True)
    stage = EvaluationStage(evaluation=EvaluationConfig(bootstrap=100, **options), languages=LANGUAGES, seed=5)
    stage.run(inputs, out, env or Environment(work=folder / "work"))
    return json.loads((out / "evaluation.json").read_text())


def test_every_model_on_every_language(inputs: dict[str, Path], tmp_path: Path) -> None:
    result = evaluate(inputs, tmp_path)
    assert (result["split"], result["context"], result["blocks"]) == ("test", CONTEXT, COUNTS)
    assert set(result["experts"]) == set(LANGUAGES)
    for entries in (result["teacher"], *result["experts"].values(), result["routed"], result["true_language"]):
        for entry in entries.values():
            assert entry["interval"][0] < entry["perplexity"] < entry["interval"][1]
            assert entry["bits_per_byte"] > 0
    assert set(result["means"]) == {"teacher", "experts", "true_language", "routed"}

    tensors = load_file(tmp_path / "out" / "block_losses.safetensors")
    assert tensors["works/py"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert result["works"] == {"en": 7, "py": 6}
    losses, routes = tensors["loss/en/py"], tensors["route/py"]
    assert losses.sum() / CONTEXT / COUNTS["py"] == pytest.approx(result["experts"]["en"]["py"]["loss"])
    chosen = np.where(routes == 0, losses, tensors["loss/py/py"])
    assert chosen.sum() / CONTEXT / COUNTS["py"] == pytest.approx(result["routed"]["py"]["loss"])
    assert result["routed"]["py"]["routes"] == {"en": int((routes == 0).sum()), "py": int((routes == 1).sum())}

    lengths = byte_lengths(load_tokenizer(inputs["tokenizer"]))
    stream = np.fromfile(inputs["blocks"] / "test" / "en.bin", np.uint16)
    assert result["bytes"]["en"] == lengths[stream[1 : COUNTS["en"] * CONTEXT + 1]].sum()


def test_loss_is_that_of_transformers(inputs: dict[str, Path], tmp_path: Path) -> None:
    result = evaluate(inputs, tmp_path)
    stream = np.fromfile(inputs["blocks"] / "test" / "en.bin", np.uint16).astype(np.int64)
    model, losses = GPT2LMHeadModel.from_pretrained(inputs["teacher"] / "model").eval(), []
    for start in range(0, COUNTS["en"] * CONTEXT, CONTEXT):
        ids = torch.from_numpy(stream[start : start + CONTEXT + 1])
        with torch.no_grad():
            logits = model(ids[None, :-1]).logits[0]
        losses.append(float(torch.nn.functional.cross_entropy(logits, ids[1:])))
    assert result["teacher"]["en"]["loss"] == pytest.approx(np.mean(losses), rel=1e-6)


def test_in_parallel_the_same(inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "PARALLEL_TOKENS", 0)
    calls = []

    def elsewhere(function, items) -> Iterator:
        """What other processes do: work on pickled copies, in any order; results in the order of the items."""
        calls.append(function)
        jobs = [pickle.dumps((function, item)) for item in items]
        results = [function(item) for function, item in map(pickle.loads, reversed(jobs))]
        return iter(results[::-1])

    evaluate(inputs, tmp_path / "serial")
    evaluate(inputs, tmp_path / "parallel", Environment(work=tmp_path / "work", map=elsewhere))
    assert calls
    for name in ("evaluation.json", "block_losses.safetensors", "samples.json"):
        assert (tmp_path / "serial" / "out" / name).read_bytes() == (tmp_path / "parallel" / "out" / name).read_bytes()


def test_the_level_of_guessing_is_that_of_tokens_by_their_frequencies(inputs: dict[str, Path], tmp_path: Path) -> None:
    evaluate(inputs, tmp_path, max_blocks=3)
    train = np.fromfile(inputs["blocks"] / "train" / "py.bin", np.uint16)[1 : COUNTS["py"] * CONTEXT + 1]
    share = (np.bincount(train, minlength=265) + 1) / (len(train) + 265)
    held_out = np.fromfile(inputs["blocks"] / "test" / "py.bin", np.uint16)[1 : 3 * CONTEXT + 1]
    found = load_file(tmp_path / "out" / "block_losses.safetensors")["loss/frequencies/py"]
    assert found == pytest.approx(-np.log(share[held_out]).reshape(3, CONTEXT).sum(axis=1))


def test_samples_go_on_from_held_out_text(inputs: dict[str, Path], tmp_path: Path) -> None:
    evaluate(inputs, tmp_path, samples=3)
    samples = json.loads((tmp_path / "out" / "samples.json").read_text())
    text = decode(load_tokenizer(inputs["tokenizer"]), np.fromfile(inputs["blocks"] / "test" / "py.bin", np.uint16))
    assert [len(found) for found in samples.values()] == [3, 3]
    assert all(sample["prompt"] in text for sample in samples["py"])
    assert all(sample["teacher"] != sample["expert"] for sample in samples["py"])
    evaluate(inputs, tmp_path / "none", samples=0)
    assert json.loads((tmp_path / "none" / "out" / "samples.json").read_text()) == {"en": [], "py": []}


def test_options_and_progress(inputs: dict[str, Path], tmp_path: Path) -> None:
    result = evaluate(inputs, tmp_path, max_blocks=3, batch=2, split="test", confidence=0.5)
    assert result["blocks"] == {"en": 3, "py": 3}
    assert (result["confidence"], result["bootstrap"]) == (0.5, 100)
    rows = [json.loads(line) for line in (tmp_path / "work" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 3, 4, 4]  # the teacher, then both experts, on each language
    assert rows[0]["message"].startswith("teacher on en: perplexity")


def test_cost_counts_the_tokens(inputs: dict[str, Path]) -> None:
    stage = EvaluationStage(evaluation=EvaluationConfig(), languages=LANGUAGES, seed=5)
    assert stage.cost(inputs, EXPECTED).tokens == sum(COUNTS.values()) * CONTEXT * 3
    assert stage.cost({"blocks": None}, EXPECTED).tokens == 0


def test_a_router_of_other_languages_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    tmp_path.joinpath("router").mkdir()
    other = RouterStage(router=RouterConfig(), languages=("en",), seed=0)
    other.run(inputs, tmp_path / "router", Environment(work=tmp_path / "work"))
    with pytest.raises(ArtifactError, match="the router knows en"):
        evaluate({**inputs, "mixture": mix(inputs | {"router": tmp_path / "router"}, tmp_path / "mixture")}, tmp_path)


def test_a_language_without_blocks_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    blocks = tmp_path / "blocks"
    (blocks / "test").mkdir(parents=True)
    about = json.loads((inputs["blocks"] / "blocks.json").read_text())
    for language, tokens in (("en", CONTEXT), ("py", 100)):
        np.zeros(tokens, np.uint16).tofile(blocks / "test" / f"{language}.bin")
        about["splits"]["test"][language] = {"tokens": tokens}
    (blocks / "blocks.json").write_text(json.dumps(about))
    with pytest.raises(CorpusError, match="test split of 'en' is shorter than one block"):
        evaluate(inputs | {"blocks": blocks}, tmp_path)


def test_a_missing_model_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    folder = mix(inputs, tmp_path / "mixture")
    (folder / "experts" / "py" / "config.json").unlink()
    with pytest.raises(ArtifactError, match="lacks experts/py"):
        evaluate({**inputs, "mixture": folder}, tmp_path)


def test_ensembles_are_means_of_probabilities(inputs: dict[str, Path], tmp_path: Path) -> None:
    evaluate(inputs, tmp_path)
    tensors = load_file(tmp_path / "out" / "block_losses.safetensors")
    experts = [GPT2LMHeadModel.from_pretrained(inputs[f"expert-{name}"] / "model").eval() for name in LANGUAGES]
    stream = np.fromfile(inputs["blocks"] / "test" / "py.bin", np.uint16).astype(np.int64)
    ids = torch.from_numpy(stream[: CONTEXT + 1])
    with torch.no_grad():
        chosen = torch.stack(
            [model(ids[None, :-1]).logits[0].softmax(-1)[range(CONTEXT), ids[1:]] for model in experts]
        )
    weights = torch.from_numpy(tensors["probabilities/py"][0]).float()
    assert tensors["loss/average/py"][0] == pytest.approx(-float(chosen.mean(0).log().sum()), rel=1e-5)
    assert tensors["loss/soft/py"][0] == pytest.approx(-float((weights @ chosen).log().sum()), rel=1e-5)
    assert "loss/common/py" not in tensors
