"""Laws of every architecture of the zoo. A new one inherits them by its name."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from orchestrator.config.base import PluginSpec
from orchestrator.models import (
    build_model,
    find_head,
    head,
    hidden_states,
    load_model,
    parameter_count,
    save_model,
    weights_digest,
)
from orchestrator.models.build import resolve
from orchestrator.plugins import available

VOCAB, CONTEXT = 96, 16
SMALL = {"layers": 2, "width": 16, "heads": 4}
ROOM = "models.zoo"
OPTIONS = {
    "transformers": {
        "config": {
            "model_type": "llama",
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
        }
    }
}
BASE = {"base": {"type": "gpt2", **SMALL}, "experts": 3}
NAMES = (*(name for name in available(ROOM) if name != "pretrained"), "mome_example.models:Llama")


def spec(name: str, /, **options: object) -> PluginSpec:
    return PluginSpec.model_validate({"type": name, **OPTIONS.get(name, {}), **options})


def small(name: str) -> PluginSpec:
    """The architecture at a size for tests."""
    if name in OPTIONS:
        return spec(name)
    if name == "token_moe":
        return spec(name, **BASE)
    extra = {"kv_heads": 2, "feed_forward": 32} if "mistral" in name else {}
    return spec(name, **SMALL, **extra)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """The files of a word-level tokenizer with this project's special tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", *(f"w{i}" for i in range(VOCAB - 3))]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def test_counts_without_allocating_and_pickles(name: str) -> None:
    assert parameter_count(spec(name), 32_000, 1024) > 0
    architecture = resolve(spec(name))
    assert pickle.loads(pickle.dumps(architecture)) == architecture


def test_same_seed_same_weights_and_the_global_generator_untouched(name: str) -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = weights_digest(build_model(small(name), VOCAB, CONTEXT, seed=1))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    assert weights_digest(build_model(small(name), VOCAB, CONTEXT, seed=1)) == first
    assert weights_digest(build_model(small(name), VOCAB, CONTEXT, seed=2)) != first


def test_count_is_that_of_the_real_model(name: str) -> None:
    model = build_model(small(name), VOCAB, CONTEXT, seed=0)
    assert parameter_count(small(name), VOCAB, CONTEXT) == sum(p.numel() for p in model.parameters())


def test_hidden_states_and_head_are_the_logits(name: str) -> None:
    model = build_model(small(name), VOCAB, CONTEXT, seed=0).eval()
    assert find_head(model).plain
    ids = torch.randint(VOCAB, (3, CONTEXT), generator=torch.Generator().manual_seed(0))
    layer = head(model)
    with torch.no_grad():
        hidden = hidden_states(model, ids)
        assert hidden.shape == (3, CONTEXT, layer.weight.shape[1])
        torch.testing.assert_close(layer.logits(hidden), model(ids).logits, rtol=1e-4, atol=1e-5)


def test_every_token_can_learn(name: str) -> None:
    """The embedding of </s> gets a gradient: it must not be taken for padding."""
    model = build_model(small(name), VOCAB, CONTEXT, seed=0)
    hidden_states(model, torch.arange(CONTEXT).unsqueeze(0)).square().sum().backward()
    gradient = model.get_input_embeddings().weight.grad
    assert gradient is not None
    assert (gradient[:CONTEXT].abs().sum(1) > 0).all()


def test_position_only_sees_the_past(name: str) -> None:
    model = build_model(small(name), VOCAB, CONTEXT, seed=0).eval()
    ids = torch.randint(3, VOCAB, (1, CONTEXT), generator=torch.Generator().manual_seed(0))
    other = ids.clone()
    other[0, 10:] = 3
    with torch.no_grad():
        a, b = hidden_states(model, ids), hidden_states(model, other)
    torch.testing.assert_close(a[:, :10], b[:, :10], rtol=1e-5, atol=1e-6)


def test_saved_folder_opens_with_transformers_and_is_the_same_model(name: str, tokenizer: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = build_model(small(name), VOCAB, CONTEXT, seed=0).eval()
    save_model(model, tokenizer, tmp_path / "model")
    assert not list((tmp_path / "model").glob("*.bin"))
    ours, theirs = load_model(tmp_path / "model"), AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert weights_digest(ours) == weights_digest(theirs) == weights_digest(model)
    ids = torch.arange(8).unsqueeze(0)
    with torch.no_grad():
        assert torch.equal(ours(ids).logits, model(ids).logits)
    generation = ours.generation_config
    assert (generation.bos_token_id, generation.eos_token_id, generation.pad_token_id) == (1, 2, 2)
    words = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert words.decode(words("w3 w5")["input_ids"]) == "w3 w5"
