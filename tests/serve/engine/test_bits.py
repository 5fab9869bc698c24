"""Answers are the same to the last bit of their log-probabilities, whatever else is computed, and wherever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from orchestrator.config.base import PluginSpec
from orchestrator.models import build_model
from serve.engine import Engine, EngineOptions
from serve.engine.forward import forward_of
from serve.engine.weights import pack_for
from serve.messages import GenerationRequest, Sampling
from serve.text import Tokenizer

PROMPTS = [
    "the house",
    "la maison près du fleuve où",
    "é",
    "river " * 6,
    "the dog and the child " * 8,
    "near a river " * 12,
]


def model_of(family: str) -> Any:
    """Of 768 columns, where products of one row and of several round differently."""
    if family == "gpt2":
        return build_model(PluginSpec(type="gpt2", layers=1, width=768, heads=12), 400, 128, 0)
    torch.manual_seed(1)
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "max_position_embeddings": 128}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = AutoConfig.for_model(family, vocab_size=400, bos_token_id=1, eos_token_id=2, **sizes, **heads)
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    ("family", "precision"), [("gpt2", "fp32"), ("gpt2", "bf16"), ("gpt2", "int8"), ("mistral", "fp32")]
)
def test_log_probabilities_are_equal_to_the_last_bit(family: str, precision: str, tokenizer_folder: Path) -> None:
    model, tokenizer = model_of(family).eval(), Tokenizer(tokenizer_folder)

    def engine(**options: Any) -> Engine:
        forward = forward_of(model, pack_for(precision))
        return Engine(forward, tokenizer, EngineOptions(precision=precision, **options))

    requests = [
        GenerationRequest(prompt, Sampling(max_tokens=4 + 3 * i, temperature=i % 2, seed=i, logprobs=2))
        for i, prompt in enumerate(PROMPTS)
    ]
    plain = engine(prefixes=0)
    alone = [plain.generate([request])[0] for request in requests]
    assert plain.generate(requests) == alone, "beside others"
    assert plain.generate(requests[::-1]) == alone[::-1], "in other slots"
    small = engine(slots=3, chunk=16)
    assert small.generate(requests) == alone, "with prompts in pieces, rows that leave, beginnings that are shared"
    assert small.generate(requests) == alone, "with beginnings that are known"
    lost = [
        GenerationRequest(r.prompt, r.sampling, 0, done.tokens[:3]) for r, done in zip(requests, alone, strict=True)
    ]
    for resumed, done in zip(engine().generate(lost), alone, strict=True):
        assert resumed.tokens == done.tokens
        assert done.logprobs is not None
        assert resumed.logprobs == done.logprobs[3:], "where another engine goes on"


HOWS: list[dict[str, Any]] = [{"temperature": 0.0}, {"seed": 4, "presence_penalty": 0.5}, {"seed": 2, "stop": ("q",)}]


@pytest.mark.parametrize("how", HOWS)
def test_a_long_answer_that_was_lost_goes_on_after_a_few_steps(tokenizer_folder: Path, how: dict[str, Any]) -> None:
    forward = forward_of(model_of("gpt2"), pack_for("fp32"))
    if not forward.reads_as_it_decodes:
        pytest.skip("this machine builds no kernel")
    tokenizer = Tokenizer(tokenizer_folder)
    request = GenerationRequest("the house", Sampling(max_tokens=60, logprobs=1, **how))
    whole = Engine(forward, tokenizer).generate([request])[0]
    for known in {0, 1, len(whole.tokens) // 2, len(whole.tokens) - 1, len(whole.tokens)}:
        other = Engine(forward, tokenizer, EngineOptions(chunk=16))
        rest = other.generate([GenerationRequest("the house", request.sampling, 0, whole.tokens[:known])])[0]
        assert (rest.tokens, rest.finish_reason, rest.text) == (whole.tokens, whole.finish_reason, whole.text)
        assert rest.logprobs is not None
        assert whole.logprobs is not None
        assert rest.logprobs == whole.logprobs[known:]
        assert other.statistics.steps <= 2 + known / 16 + len(whole.tokens) - known


@pytest.mark.parametrize("length", [17, 33])
def test_a_prompt_whose_last_token_alone_is_not_known_yet_is_read_as_before(
    tokenizer_folder: Path, length: int
) -> None:
    model = build_model(PluginSpec(type="gpt2", layers=2, width=32, heads=2), 400, 64, 0)
    ids = (1, *[(7 * place) % 380 + 5 for place in range(length - 1)])
    how = Sampling(max_tokens=6, logprobs=0, seed=2)
    requests = [GenerationRequest(ids, how, place) for place in range(3)]
    one = Engine(model, Tokenizer(tokenizer_folder))
    first = [one.generate([request])[0] for request in requests]
    assert one.generate(requests) == first
    in_chunks = Engine(model, Tokenizer(tokenizer_folder), EngineOptions(chunk=16))
    assert in_chunks.generate(requests) == first
