"""Stages of a mixture that grows: text by links, blocks beside those that are there, experts that stay."""

import json

import numpy as np
import pytest
import torch

from orchestrator.config.base import PluginSpec, build
from orchestrator.config.recipe import BlocksConfig
from orchestrator.environment import Environment
from orchestrator.errors import CorpusError, TokenizerError
from orchestrator.models import build_model
from orchestrator.models.inference import routed_logits
from orchestrator.models.mixture_files import load_mixture, save_mixture
from orchestrator.stages.added_blocks import AddedBlocksStage
from orchestrator.stages.grown_blocks import GrownBlocksStage
from orchestrator.stages.grown_corpus import GrownCorpusStage
from orchestrator.stages.remaining_experts import RemainingExpertsStage
from orchestrator.tokens.blocks import TokenBlocks

CONTEXT, VOCABULARY = 8, 60
SPLITS = ("train", "validation", "test")


def write_corpus(folder, *languages):
    for split in SPLITS:
        (folder / split).mkdir(parents=True)
        for language in languages:
            (folder / split / f"{language}.parquet").write_text(f"{folder.name} {split} {language}")
    summary = {language: {"splits": folder.name} for language in languages}
    (folder / "corpus.json").write_text(json.dumps({"languages": summary}))
    return folder


def write_blocks(folder, *languages, vocab_size=VOCABULARY):
    rng = np.random.default_rng(len(folder.name))
    counts = {}
    for split in SPLITS:
        (folder / split).mkdir(parents=True)
        (folder / "selected" / split).mkdir(parents=True)
        for language in languages:
            rng.integers(3, VOCABULARY, 50).astype(np.uint16).tofile(folder / split / f"{language}.bin")
            np.save(folder / split / f"{language}.works.npy", np.arange(6, dtype=np.uint64))
            np.save(folder / "selected" / split / f"{language}.npy", np.arange(3))
        counts[split] = {language: {"tokens": 50, "made": folder.name} for language in languages}
    about = {"context": CONTEXT, "dtype": "uint16", "vocab_size": vocab_size, "languages": languages}
    (folder / "blocks.json").write_text(json.dumps({**about, "splits": counts}))
    return folder


def write_tokens(folder, lengths):
    """Token ids of one language's documents, of these lengths in every split."""
    for split in SPLITS:
        (folder / split).mkdir(parents=True)
        np.arange(3, 3 + sum(lengths)).astype(np.uint16).tofile(folder / split / "es.bin")
        np.save(folder / split / "es.lengths.npy", np.array(lengths))
        np.save(folder / split / "es.works.npy", np.arange(len(lengths), dtype=np.uint64))
    np.save(folder / "vocabulary.npy", np.ones((100, 2), np.int64))
    counts = {"es": {"documents": len(lengths), "tokens": sum(lengths), "unknown": 0}}
    about = {"languages": ["es"], "dtype": "uint16", "vocab_size": 100, "prefix_bytes": 0}
    (folder / "tokens.json").write_text(json.dumps({**about, "splits": dict.fromkeys(SPLITS, counts)}))
    return folder


def run(stage, tmp_path, **inputs):
    out = tmp_path / "out"
    out.mkdir()
    stage.run(inputs, out, Environment(work=tmp_path / "work"))
    return out


def test_blocks_are_linked_and_read_as_before(tmp_path):
    old, new = write_blocks(tmp_path / "old", "en", "fr"), write_blocks(tmp_path / "newer", "es")
    stage = GrownBlocksStage(languages=("en", "es"))
    out = run(stage, tmp_path, **{"blocks": old, "blocks-es": new})
    for split in SPLITS:
        blocks = TokenBlocks.open(out, split)
        assert blocks.languages == ("en", "es")
        assert blocks.digest("en") == TokenBlocks.open(old, split).digest("en")
        assert blocks.digest("es") == TokenBlocks.open(new, split).digest("es")
        assert (out / split / "en.bin").samefile(old / split / "en.bin")
        assert (out / "selected" / split / "es.npy").samefile(new / "selected" / split / "es.npy")
    assert not (out / "train" / "fr.bin").exists()


def test_new_text_takes_the_place_of_old(tmp_path):
    old, new = write_blocks(tmp_path / "old", "en", "fr"), write_blocks(tmp_path / "newer", "fr")
    out = run(GrownBlocksStage(languages=("en", "fr")), tmp_path, **{"blocks": old, "blocks-fr": new})
    assert TokenBlocks.open(out, "test").digest("fr") == TokenBlocks.open(new, "test").digest("fr")
    made = json.loads((out / "blocks.json").read_text())["splits"]["train"]
    assert (made["en"]["made"], made["fr"]["made"]) == ("old", "newer")


def test_blocks_of_another_vocabulary_are_refused(tmp_path):
    old, new = write_blocks(tmp_path / "old", "en"), write_blocks(tmp_path / "newer", "es", vocab_size=61)
    with pytest.raises(TokenizerError, match="another vocabulary"):
        run(GrownBlocksStage(languages=("en", "es")), tmp_path, **{"blocks": old, "blocks-es": new})


def test_corpora_are_linked(tmp_path):
    old, new = write_corpus(tmp_path / "old", "en", "fr"), write_corpus(tmp_path / "newer", "es")
    out = run(GrownCorpusStage(languages=("fr", "es")), tmp_path, **{"corpus": old, "corpus-es": new})
    assert json.loads((out / "corpus.json").read_text())["languages"] == {
        "fr": {"splits": "old"},
        "es": {"splits": "newer"},
    }
    assert sorted(path.name for path in (out / "train").iterdir()) == ["es.parquet", "fr.parquet"]
    assert (out / "test" / "es.parquet").samefile(new / "test" / "es.parquet")


def added(most):
    blocks = BlocksConfig(context=CONTEXT)
    return AddedBlocksStage(blocks=blocks, languages=("es",), seed=1, most=dict.fromkeys(SPLITS, most))


def test_a_new_language_gets_as_many_tokens_as_the_others_at_most(tmp_path):
    tokens = write_tokens(tmp_path / "tokens", [18] * 5)
    about = json.loads((run(added(40), tmp_path, tokens=tokens) / "blocks.json").read_text())
    assert about["splits"]["train"]["es"]["tokens"] == 40


def test_a_language_with_less_text_is_taken_whole(tmp_path):
    tokens = write_tokens(tmp_path / "tokens", [18] * 5)
    out = run(added(4000), tmp_path, tokens=tokens)
    assert json.loads((out / "blocks.json").read_text())["splits"]["train"]["es"]["tokens"] == 100
    assert TokenBlocks.open(out, "train").count("es") == 12


def test_text_too_short_for_a_block_is_told(tmp_path):
    tokens = write_tokens(tmp_path / "tokens", [4])
    with pytest.raises(CorpusError, match=r"train text of es has 6 tokens(.|\n)*takes 9(.|\n)*give es more text"):
        run(added(4000), tmp_path, tokens=tokens)


@pytest.mark.parametrize("setup", ["jeet", "moe_ce"])
def test_experts_that_stay_keep_every_bit(tmp_path, setup):
    spec = PluginSpec(type=setup, combiner="gate") if setup == "moe_ce" else PluginSpec(type=setup)
    plugin = build("models.setups", spec)
    models = [build_model(PluginSpec(type="gpt2", layers=1, width=16, heads=2), 60, 8, seed) for seed in range(4)]
    mixture = plugin.assemble(
        dict(zip(("en", "fr", "de"), models, strict=False)), models[3] if plugin.has_common else None
    )
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    save_mixture(mixture, spec, tmp_path / "tokenizer", tmp_path / "mixture")
    stage = RemainingExpertsStage(languages=("en", "de"))
    out = run(stage, tmp_path, mixture=tmp_path / "mixture", tokenizer=tmp_path / "tokenizer")
    before, after, ids_BT = load_mixture(tmp_path / "mixture"), load_mixture(out), torch.arange(16).reshape(2, 8)
    assert after.languages == ("en", "de")
    with torch.inference_mode():
        for column, language in enumerate(after.languages):
            ours = routed_logits(before, ids_BT, torch.eye(3)[[before.languages.index(language)] * 2])
            assert torch.equal(ours, routed_logits(after, ids_BT, torch.eye(2)[[column] * 2]))
    assert json.loads((out / "training.json").read_text())["steps"] == 0
