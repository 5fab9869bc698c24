"""A step through all layers by our kernel, beside the same step by torch, and a row alone beside itself in a batch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, PhiConfig, PretrainedConfig

from serve.engine.cache import SlotCache
from serve.engine.forward import forward_of
from serve.engine.forward.decoder import Decoder
from serve.engine.forward.native import _Stepper
from serve.engine.forward.step import Piece, Step
from serve.engine.native import SWITCH, library
from serve.engine.weights import pack_for

ENDS = [1, 96, 17, 40, 9]
CPU = torch.device("cpu")
SHARED = {"vocab_size": 50, "max_position_embeddings": 96}
SIZES = {**SHARED, "num_hidden_layers": 2, "intermediate_size": 90}
CONFIGS = [
    GPT2Config(vocab_size=50, n_positions=96, n_embd=40, n_layer=2, n_head=2),
    LlamaConfig(**SIZES, hidden_size=48, num_attention_heads=4, num_key_value_heads=2, attention_bias=True),
    MistralConfig(**SIZES, hidden_size=36, num_attention_heads=3, num_key_value_heads=1, head_dim=20, sliding_window=9),
    PhiConfig(**SIZES, hidden_size=32, num_attention_heads=4, partial_rotary_factor=0.5),
]


@pytest.fixture(params=["1", "avx2"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(SWITCH, request.param)
    library.cache_clear()
    if library() is None:
        pytest.skip("this machine builds no kernel")
    yield
    library.cache_clear()


def made(config: PretrainedConfig, precision: str = "fp32") -> Decoder:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():  # norms and biases that are not ones and zeros
        parameter.data += 0.1 * torch.randn_like(parameter)
    forward = forward_of(model, pack_for(precision, "cpu"))
    assert isinstance(forward, Decoder)
    return forward


def filled(forward: Decoder) -> SlotCache:
    cache = forward.cache(len(ENDS))
    cache.reserve(96)
    cache.memory.copy_(torch.randn(cache.memory.shape, generator=torch.Generator().manual_seed(1)))
    return cache


def step(ends: list[int]) -> Step:
    return Step([Piece(slot, end - 1, [7 + slot]) for slot, end in enumerate(ends)], [], CPU)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
@torch.inference_mode()
def test_it_computes_what_torch_computes(config: PretrainedConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = made(config)
    assert isinstance(ours._stepper, _Stepper)
    monkeypatch.setenv(SWITCH, "0")
    library.cache_clear()
    theirs = made(config)
    assert theirs._stepper is None
    caches = [filled(each) for each in (ours, theirs)]
    found, expected = (each.hidden(step(ENDS), cache) for each, cache in zip((ours, theirs), caches, strict=True))
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=5e-6)
    torch.testing.assert_close(caches[0].memory, caches[1].memory, rtol=2e-5, atol=5e-6)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@torch.inference_mode()
def test_a_row_gets_the_same_bits_alone_beside_others_and_by_more_threads(
    config: PretrainedConfig, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = made(config, precision)
    together = forward.hidden(step(ENDS), filled(forward))
    monkeypatch.setattr(forward._stepper, "_size", 2**20)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            for ends in (ENDS[:1], ENDS[:2], ENDS):
                torch.set_num_threads(count)
                assert torch.equal(forward.hidden(step(ends), filled(forward)), together[: len(ends)])
    finally:
        torch.set_num_threads(threads)


PROMPT = [index * 7 % 50 for index in range(40)]


def read(forward: Decoder, cache: SlotCache, start: int, end: int, *, every: bool = True) -> torch.Tensor:
    return forward.hidden(Step([], [Piece(4, start, PROMPT[start:end], every)], CPU), cache)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
@torch.inference_mode()
def test_a_prompt_is_read_as_torch_reads_it(config: PretrainedConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(made(config), filled(made(config)), 0, 40)
    monkeypatch.setenv(SWITCH, "0")
    library.cache_clear()
    forward = made(config)
    torch.testing.assert_close(found, read(forward, filled(forward), 0, 40), rtol=2e-5, atol=5e-6)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
@torch.inference_mode()
def test_a_prompt_gets_the_same_bits_however_it_is_cut_and_whatever_is_beside_it(config: PretrainedConfig) -> None:
    forward = made(config)
    whole, cut, single = filled(forward), filled(forward), filled(forward)
    expected = read(forward, whole, 0, 40)
    pieces = torch.cat([read(forward, cut, 0, 7), read(forward, cut, 7, 23), read(forward, cut, 23, 40)])
    tokens = torch.cat([read(forward, single, at, at + 1) for at in range(40)])
    assert torch.equal(pieces, expected)
    assert torch.equal(tokens, expected)
    assert torch.equal(cut.memory, whole.memory)
    assert torch.equal(single.memory, whole.memory)
    # Logits after the last token alone, beside rows that decode.
    beside = Step(step(ENDS[:4]).decoding, [Piece(4, 0, PROMPT)], CPU)
    alone = forward.hidden(step(ENDS[:4]), filled(forward))
    assert torch.equal(forward.hidden(beside, filled(forward)), torch.cat((alone, expected[-1:])))
    assert len(forward.hidden(Step([], [Piece(4, 0, PROMPT, last=False)], CPU), filled(forward))) == 0


@pytest.mark.usefixtures("kernel")
@torch.inference_mode()
def test_what_is_beyond_the_vocabulary_or_the_cache_is_refused() -> None:
    forward = made(CONFIGS[0])
    for piece in (Piece(0, 0, [50]), Piece(0, 0, [-1]), Piece(0, 96, [1])):
        with pytest.raises(IndexError):
            forward.hidden(Step([piece], [], CPU), filled(forward))


@pytest.mark.usefixtures("kernel")
@torch.inference_mode()
def test_a_place_beyond_the_context_is_refused_though_whole_blocks_of_the_cache_hold_it() -> None:
    forward = made(GPT2Config(vocab_size=50, n_positions=20, n_embd=40, n_layer=1, n_head=2))
    cache = forward.cache(1)
    cache.reserve(20)
    assert cache.capacity > 20
    assert len(forward.hidden(Step([], [Piece(0, 0, [1] * 20)], CPU), cache)) == 1
    with pytest.raises(IndexError):
        forward.hidden(Step([Piece(0, 20, [1])], [], CPU), cache)
