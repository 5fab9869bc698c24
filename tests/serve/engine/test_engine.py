from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from orchestrator.errors import ArtifactError, ServingError
from orchestrator.models import load_model
from serve.engine import Engine, EngineOptions, Pace
from serve.engine.forward import Generic
from serve.engine.stream import Stream
from serve.errors import ContextLengthError, DeadlineError, EmptyPromptError, RequestError
from serve.messages import Completion, Delta, GenerationRequest, Sampling
from serve.text import Tokenizer

PROMPTS = [
    "the house",
    "la maison près du fleuve où",
    "é",
    "river river river river river river </s> x",
    "the dog " * 12,
]
SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.4},
    "llama": SIZES,
    "mistral": SIZES | {"sliding_window": None},
    "mistral, window": SIZES | {"sliding_window": 12},
    "phi": SIZES | {"num_key_value_heads": 4},
    "qwen3": SIZES | {"head_dim": 8},
}


@pytest.fixture(scope="module")
def engine(padded_model: Path) -> Engine:
    return Engine.load(padded_model)


@pytest.fixture(scope="module")
def model(padded_model: Path) -> Any:
    return load_model(padded_model)


def one(engine: Engine, prompt: str, **sampling: object) -> Completion:
    return engine.generate([GenerationRequest(prompt, Sampling(**sampling))])[0]  # type: ignore[arg-type]


def reference(model: Any, tokenizer: Tokenizer, prompt: str, tokens: int) -> tuple[int, ...]:
    """What transformers' own `generate` continues with."""
    ids = torch.tensor([tokenizer.encode_prompt(prompt)])
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, pad_token_id=2,
        suppress_tokens=list(range(len(tokenizer.bytes), model.config.vocab_size)) or None,
    )  # fmt: skip
    return tuple(output[0, ids.shape[1] :].tolist())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("chunk", [256, 16])
def test_greedy_tokens_are_those_of_transformers_generate(family: str, chunk: int, tokenizer_folder: Path) -> None:
    torch.manual_seed(1)
    config = AutoConfig.for_model(
        family.split(",")[0], vocab_size=400, bos_token_id=1, eos_token_id=2, **FAMILIES[family]
    )
    model, tokenizer = AutoModelForCausalLM.from_config(config).eval(), Tokenizer(tokenizer_folder)
    engine = Engine(model, tokenizer, EngineOptions(slots=3, chunk=chunk))
    assert isinstance(engine.forward, Generic) == (family == "qwen3")
    sampling = Sampling(max_tokens=20, temperature=0.0)
    batch = engine.generate([GenerationRequest(prompt, sampling) for prompt in PROMPTS])
    for prompt, done in zip(PROMPTS, batch, strict=True):
        wanted = reference(model, tokenizer, prompt, 20)
        assert done.tokens == wanted
        assert done.finish_reason == ("stop" if wanted[-1] == tokenizer.end else "length")
        assert done == one(engine, prompt, max_tokens=20, temperature=0.0)
    engine.close()


def test_a_padded_vocabulary_is_never_chosen_from(engine: Engine, model: Any) -> None:
    for prompt in PROMPTS:
        done = one(engine, prompt, max_tokens=20, temperature=0.0)
        assert done.tokens == reference(model, engine.tokenizer, prompt, 20)
        assert one(engine, prompt, max_tokens=20, temperature=2.0).tokens < (400,) * 21


def test_a_row_samples_the_same_whatever_else_is_in_the_batch(engine: Engine) -> None:
    requests = [
        GenerationRequest(prompt, Sampling(max_tokens=5 + 7 * i, temperature=0.5 * i, top_p=0.9, seed=i))
        for i, prompt in enumerate(PROMPTS)
    ]
    batch = engine.generate(requests)
    assert batch == [engine.generate([request])[0] for request in requests]
    assert batch == engine.generate(requests[::-1])[::-1]


def test_seeds_and_streams_tell_choices_apart(engine: Engine) -> None:
    sampling = Sampling(max_tokens=20, seed=-7)
    first, again, other = (
        engine.generate([GenerationRequest("the", sampling, stream)])[0].text for stream in (0, 0, 1)
    )
    assert first == again != other
    assert one(engine, "the", max_tokens=20).text != one(engine, "the", max_tokens=20).text


def test_a_stop_text_ends_the_answer_and_is_no_part_of_it(engine: Engine) -> None:
    whole = one(engine, "the house", max_tokens=20, temperature=0.0)
    assert len(whole.text) > 8
    stop = whole.text[4:7]  # usually across tokens
    cut = one(engine, "the house", max_tokens=20, temperature=0.0, stop=("not in there", stop))
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish_reason == "stop"
    assert cut.completion_tokens < whole.completion_tokens


def test_the_end_token_stops_and_leaves_no_text(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = one(engine, "the house", max_tokens=12, temperature=0.0)
    end = next(token for token in whole.tokens[3:] if token not in whole.tokens[:3])
    monkeypatch.setattr(engine.tokenizer, "ends", frozenset({end}))
    done = one(engine, "the house", max_tokens=12, temperature=0.0)
    before = whole.tokens[: whole.tokens.index(end)]
    assert (done.tokens, done.finish_reason) == ((*before, end), "stop")
    text = b"".join(engine.tokenizer.bytes[token] for token in before).decode("utf-8", "replace")
    assert done.text.rstrip("\ufffd") == text.rstrip("\ufffd")


def test_prompt_and_answer_fit_the_context_or_are_refused(engine: Engine) -> None:
    prompt_tokens = len(engine.tokenizer.encode_prompt("the house"))
    room = engine.context - prompt_tokens
    full = one(engine, "the house", max_tokens=None, temperature=0.0)
    assert full.completion_tokens == room
    assert full == one(engine, "the house", max_tokens=room, temperature=0.0)
    with pytest.raises(ContextLengthError, match=f"context is {engine.context} tokens"):
        one(engine, "the house", max_tokens=room + 1)
    with pytest.raises(ContextLengthError):
        one(engine, "the house " * 100, max_tokens=None)


@pytest.mark.parametrize(
    "bad",
    [
        {"max_tokens": 0}, {"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 1.5}, {"stop": ("",)},
        {"top_k": 0}, {"min_p": -0.1}, {"repetition_penalty": 0.0}, {"frequency_penalty": float("inf")},
        {"logit_bias": {3: float("nan")}}, {"logprobs": -1},
    ],
)  # fmt: skip
def test_bad_sampling_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        Sampling(**bad)


def test_bad_requests_and_options_are_refused(engine: Engine) -> None:
    with pytest.raises(EmptyPromptError):
        one(engine, "")
    assert engine.generate([]) == []
    for bad in ({"slots": 0}, {"chunk": 20}, {"queue": -1}, {"prefixes": -1}, {"precision": "int3"}):
        with pytest.raises(ServingError, match=next(iter(bad))):
            EngineOptions(**bad)  # type: ignore[arg-type]


def test_an_answer_is_given_up_at_its_deadline(engine: Engine) -> None:
    with pytest.raises(DeadlineError):
        engine.generate([GenerationRequest("the", Sampling(max_tokens=20))], seconds=0)
    assert engine.statistics.expired >= 1
    assert (engine.statistics.active, engine.statistics.waiting) == (0, 0)


def test_a_damaged_model_is_refused(padded_model: Path, tmp_path: Path) -> None:
    shutil.copytree(padded_model, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 10)
    with pytest.raises(ArtifactError):
        Engine.load(tmp_path)


def test_deltas_are_told_no_more_often_than_asked_but_the_first_and_the_last_at_once() -> None:
    stream, begin = Stream(seed=0), time.monotonic()

    async def read() -> list[tuple[int, ...]]:
        told = []
        async for delta in stream.deltas(Pace(60.0)):
            told.append(delta.tokens)
            if len(told) == 1:
                for token in (2, 3):
                    stream.put(Delta("", (token,)))
                asyncio.get_running_loop().call_later(0.05, stream.put, Delta("", (4,)))
                asyncio.get_running_loop().call_later(0.1, stream.end, Completion("", 1, 4, "length"))
        return told

    stream.put(Delta("", (1,)))
    assert asyncio.run(read()) == [(1,), (2, 3, 4)]
    assert time.monotonic() - begin < 30


def test_many_streams_that_are_read_together_tell_no_more_often_than_one() -> None:
    pace, streams = Pace(0.02), [Stream(seed=0) for _ in range(8)]

    async def read(stream: Stream) -> int:
        return len([delta async for delta in stream.deltas(pace)])

    async def write() -> None:
        for _ in range(200):
            for stream in streams:
                stream.put(Delta("", (1,)))
            await asyncio.sleep(0.002)
        for stream in streams:
            stream.end(Completion("", 1, 200, "length"))

    async def both() -> list[int]:
        *told, _ = await asyncio.gather(*map(read, streams), write())
        return told

    begin = time.monotonic()
    told = asyncio.run(both())
    assert all(1 < count <= 3 + (time.monotonic() - begin) / 0.16 for count in told)
    assert pace.streams == 0


@pytest.mark.parametrize("every", [0.001, 60.0])
def test_all_deltas_together_are_the_answer_however_often_they_are_told(padded_model: Path, every: float) -> None:
    engine = Engine.load(padded_model)
    request = GenerationRequest("the house", Sampling(max_tokens=30, temperature=0))

    async def read() -> list[str]:
        return [delta.text async for delta in engine.submit([request])[0].deltas(Pace(every))]

    told = asyncio.run(read())
    assert "".join(told) == engine.generate([request])[0].text
    assert 1 <= len(told) <= 31  # one, where all of it is there before it is read
