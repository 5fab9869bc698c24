from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PhiConfig, PhiForCausalLM

from orchestrator.errors import ModelError
from orchestrator.evaluation import perplexity
from orchestrator.evaluation.evaluated import block_bytes
from orchestrator.evaluation.perplexity import block_losses
from orchestrator.tokens.blocks import TokenBlocks

VOCABULARY, CONTEXT, BLOCKS = 60, 8, 11


@pytest.fixture
def blocks(tmp_path: Path) -> TokenBlocks:
    rng = np.random.default_rng(0)
    (tmp_path / "test").mkdir()
    counts = {}
    for language in ("en", "fr"):
        stream = rng.integers(0, VOCABULARY, BLOCKS * CONTEXT + 3, dtype=np.uint16)
        stream.tofile(tmp_path / "test" / f"{language}.bin")
        counts[language] = {"tokens": len(stream), "blocks": BLOCKS}
    about = {
        "context": CONTEXT,
        "dtype": "uint16",
        "vocab_size": VOCABULARY,
        "languages": ["en", "fr"],
        "splits": {"test": counts},
    }
    (tmp_path / "blocks.json").write_text(json.dumps(about))
    return TokenBlocks.open(tmp_path, "test")


def gpt2(vocab_size: int = VOCABULARY, positions: int = CONTEXT) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=vocab_size, n_positions=positions, n_embd=16, n_layer=1, n_head=2, initializer_range=0.3
    )
    return GPT2LMHeadModel(config).eval()


def phi() -> PhiForCausalLM:
    """Its head has a bias and is not tied."""
    torch.manual_seed(0)
    config = PhiConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=CONTEXT, initializer_range=0.3,
    )  # fmt: skip
    model = PhiForCausalLM(config).eval()
    torch.nn.init.normal_(model.lm_head.bias)
    return model


@pytest.mark.parametrize("make", [gpt2, phi])
def test_losses_equal_the_whole_models(make, blocks: TokenBlocks, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    tokens = torch.from_numpy(np.stack([blocks.block("fr", i) for i in range(BLOCKS)]).astype(np.int64))
    with torch.no_grad():
        logs = model(tokens[:, :-1]).logits.double().log_softmax(-1)
    expected = -logs.gather(-1, tokens[:, 1:, None])[..., 0].sum(1).numpy()
    np.testing.assert_allclose(block_losses(model, blocks, "fr", BLOCKS), expected, rtol=1e-5)
    monkeypatch.setattr(perplexity, "MAX_LOGITS", 3 * VOCABULARY)  # 3 positions at once
    np.testing.assert_allclose(block_losses(model, blocks, "fr", BLOCKS, batch=4), expected, rtol=1e-5)
    np.testing.assert_allclose(block_losses(model, blocks, "fr", 2, batch=4), expected[:2], rtol=1e-5)


def test_bf16_is_near(blocks: TokenBlocks) -> None:
    exact, rounded = (block_losses(gpt2(), blocks, "en", BLOCKS, precision=p) for p in ("fp32", "bf16"))
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(rounded, exact, rtol=0.02)


def test_a_model_that_does_not_fit_is_refused(blocks: TokenBlocks) -> None:
    with pytest.raises(ModelError, match="knows 59 tokens"):
        block_losses(gpt2(vocab_size=59), blocks, "en", 1)
    with pytest.raises(ModelError, match="sees 7 tokens"):
        block_losses(gpt2(positions=7), blocks, "en", 1)


def test_losses_that_are_not_finite_are_told(blocks: TokenBlocks) -> None:
    model = gpt2()
    model.transformer.wpe.weight.data[:] = float("nan")
    with pytest.raises(ModelError, match="block 0 of 'en' is not finite"):
        block_losses(model, blocks, "en", 3)


def test_bytes_are_those_of_the_targets(blocks: TokenBlocks) -> None:
    lengths = np.arange(VOCABULARY)
    expected = [int(blocks.block("en", i)[1:].sum()) for i in range(4)]
    assert block_bytes(blocks, "en", 4, lengths).tolist() == expected
