from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from orchestrator.errors import ArtifactError
from serve.engine import Engine
from serve.errors import ContextLengthError, DeadlineError, EmptyPromptError, RequestError
from serve.messages import Completion, GenerationRequest, Sampling
from serve.text import Tokenizer

PROMPTS = ["the house", "la maison près du fleuve où", "é", "river river river river river river </s> x"]


@pytest.fixture(scope="module")
def engine(padded_model: Path) -> Engine:
    return Engine.load(padded_model)


def one(engine: Engine, prompt: str, **sampling: object) -> Completion:
    return engine.generate([GenerationRequest(prompt, Sampling(**sampling))])[0]  # type: ignore[arg-type]


def greedy_reference(engine: Engine, prompt: str, tokens: int) -> list[int]:
    """What transformers' own `generate` continues with."""
    ids = torch.tensor([engine.tokenizer.encode_prompt(prompt)])
    known = len(engine.tokenizer.bytes)
    output = engine.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, pad_token_id=2,
        suppress_tokens=list(range(known, engine.model.config.vocab_size)),
    )  # fmt: skip
    return output[0, ids.shape[1] :].tolist()


def text_of(engine: Engine, ids: list[int]) -> str:
    return b"".join(engine.tokenizer.bytes[token] for token in ids).decode("utf-8", "replace").rstrip("\ufffd")


def test_greedy_tokens_are_those_of_transformers_generate_alone_and_in_a_batch(engine: Engine) -> None:
    sampling = Sampling(max_tokens=20, temperature=0.0)
    batch = engine.generate([GenerationRequest(prompt, sampling) for prompt in PROMPTS])
    for prompt, done in zip(PROMPTS, batch, strict=True):
        reference = greedy_reference(engine, prompt, 20)
        assert done.text.rstrip("\ufffd") == text_of(engine, reference)
        assert done.completion_tokens == len(reference)
        assert done.finish_reason == ("stop" if reference[-1] == engine.tokenizer.end else "length")
        assert done == one(engine, prompt, max_tokens=20, temperature=0.0)


@pytest.mark.parametrize("architecture", ["mistral", "phi"])
def test_rotary_models_continue_the_same_alone_and_in_a_batch(architecture: str, tokenizer_folder: Path) -> None:
    torch.manual_seed(1)
    config = AutoConfig.for_model(
        architecture, vocab_size=400, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=48, initializer_range=0.3, bos_token_id=1, eos_token_id=2,
        **({"sliding_window": 12} if architecture == "mistral" else {}),
    )  # fmt: skip
    engine = Engine(AutoModelForCausalLM.from_config(config).eval(), Tokenizer(tokenizer_folder))
    sampling = Sampling(max_tokens=20, temperature=0.0)
    batch = engine.generate([GenerationRequest(prompt, sampling) for prompt in PROMPTS])
    for prompt, done in zip(PROMPTS, batch, strict=True):
        assert done.text.rstrip("\ufffd") == text_of(engine, greedy_reference(engine, prompt, 20))
        assert done == one(engine, prompt, max_tokens=20, temperature=0.0)


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
    tokens = greedy_reference(engine, "the house", 12)
    end = next(token for token in tokens[3:] if token not in tokens[:3])
    monkeypatch.setattr(engine.tokenizer, "end", end)
    done = one(engine, "the house", max_tokens=12, temperature=0.0)
    before = tokens[: tokens.index(end)]
    assert (done.text.rstrip("\ufffd"), done.finish_reason) == (text_of(engine, before), "stop")
    assert done.completion_tokens == len(before) + 1


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


def test_bad_requests_are_refused(engine: Engine) -> None:
    with pytest.raises(EmptyPromptError):
        one(engine, "")
    for bad in (
        {"max_tokens": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 1.5},
        {"stop": ("",)},
    ):
        with pytest.raises(RequestError):
            Sampling(**bad)
    assert engine.generate([]) == []


def test_a_batch_is_given_up_when_asked(engine: Engine) -> None:
    steps = iter([False, False, True])
    with pytest.raises(DeadlineError):
        engine.generate([GenerationRequest("the", Sampling(max_tokens=20))], lambda: next(steps))


def test_a_damaged_model_is_refused(padded_model: Path, tmp_path: Path) -> None:
    shutil.copytree(padded_model, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 10)
    with pytest.raises(ArtifactError):
        Engine.load(tmp_path)
