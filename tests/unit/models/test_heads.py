"""What lies between hidden states and logits, against the model's own forward pass, for every family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator.errors import ModelError
from orchestrator.losses import LazyLogits, distillation_loss
from orchestrator.losses.jsd import JSD
from orchestrator.models import find_head, head, hidden_states, hidden_width, load_model
from orchestrator.models.heads import FIELD
from orchestrator.models.zoo._families import cut_rows
from orchestrator.plugins import create
from orchestrator.teacher import ABOUT, Cache, CachedTeacherSource, TeacherModel, shard_name, write_shard
from orchestrator.teacher._base import TeacherStates
from orchestrator.teacher.live import Live
from tests.unit.models.families import CAPS, FAMILIES, SCALES, VOCAB, build

IDS = torch.randint(3, VOCAB, (2, 12), generator=torch.Generator().manual_seed(3))
ROWS = torch.tensor([[0, 0], [0, 1]])


def own_logits(model: Any) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(input_ids=IDS, use_cache=False).logits
    return logits


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_scale_bias_and_cap_are_found(family: str) -> None:
    model = build(family)
    found = find_head(model)
    assert (found.scale, found.cap) == (SCALES.get(family, 1.0), CAPS.get(family))
    assert (found.bias is not None) == (family in ("phi", "gptj"))
    assert hasattr(model.config, FIELD) == (not found.plain)
    with torch.no_grad():
        logits = head(model).logits(hidden_states(model, IDS))
    torch.testing.assert_close(logits, own_logits(model), rtol=0, atol=1e-5)


def test_they_are_known_again_when_the_folder_is_opened(family: str, tmp_path: Path) -> None:
    model = build(family)
    expected = find_head(model)
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    assert head(again)[2:] == expected[2:]
    assert hidden_width(tmp_path) == expected.weight.shape[1]
    torch.testing.assert_close(own_logits(again), own_logits(model), rtol=0, atol=1e-5)


def test_losses_and_gradients_are_those_of_the_definition(family: str) -> None:
    teacher, student = build(family), build(family, seed=1)
    find_head(teacher), find_head(student)
    labels = IDS.roll(-1, 1)
    with torch.no_grad():
        taught = LazyLogits(hidden_states(teacher, IDS), *head(teacher))
    sums = distillation_loss(
        LazyLogits(hidden_states(student, IDS), *head(student)),
        labels,
        teacher=taught,
        soft=JSD(temperature=2.0),
        alpha=0.3,
        beta=0.7,
        chunk=5,
    )
    sums.loss.backward()
    ours = {name: weight.grad.clone() for name, weight in student.named_parameters() if weight.grad is not None}
    student.zero_grad()
    logits = student(input_ids=IDS, use_cache=False).logits.flatten(0, 1)
    soft = JSD(temperature=2.0).per_token(logits, own_logits(teacher).flatten(0, 1)).sum()
    expected = 0.3 * nn.functional.cross_entropy(logits, labels.flatten(), reduction="sum") + 0.7 * soft
    expected.backward()
    torch.testing.assert_close(sums.loss, expected, rtol=1e-5, atol=1e-4)
    for name, weight in student.named_parameters():
        if weight.grad is not None:
            size = float(weight.grad.abs().max())
            torch.testing.assert_close(ours[name], weight.grad, rtol=1e-4, atol=2e-5 * max(size, 1.0), msg=name)


def cached(model: Any, folder: Path, name: str, **options: Any) -> Any:
    teacher = TeacherModel(lambda: model, hidden_states, head, VOCAB)
    source = create("teacher", name, options)
    folder.mkdir(exist_ok=True)
    assert isinstance(source, CachedTeacherSource)
    write_shard(folder / shard_name(0), source.record(Live().open(teacher).states(IDS, ROWS), range(2)))
    (folder / ABOUT).write_text('{"identity": {}, "blocks": 2, "blocks_per_shard": 2}')
    return source.open(TeacherModel(lambda: model, hidden_states, head, VOCAB, {0: Cache(folder, {})}))


def test_cached_logits_are_the_models(family: str, tmp_path: Path) -> None:
    model = build(family)
    find_head(model)
    expected = own_logits(model)
    live = Live().open(TeacherModel(lambda: model, hidden_states, head, VOCAB)).states(IDS, ROWS)
    whole = cached(model, tmp_path / "fp32", "hidden_cache", states="fp32").states(IDS, ROWS)
    exact = LazyLogits(*whole).head.logits(whole.hidden)
    torch.testing.assert_close(exact, expected, rtol=0, atol=1e-5)
    kept = cached(model, tmp_path / "bf16", "hidden_cache", states="bf16").states(IDS, ROWS)
    rounded = LazyLogits(*kept).head.logits(kept.hidden.float())
    rounding = 2**-8 * float((live.hidden.abs() @ live.weight.abs().t()).max()) * abs(live.scale)
    torch.testing.assert_close(rounded, expected, rtol=0, atol=rounding)
    closer = cached(model, tmp_path / "fp16", "hidden_cache").states(IDS, ROWS)
    torch.testing.assert_close(LazyLogits(*closer).head.logits(closer.hidden), expected, rtol=0, atol=rounding / 8)


def test_a_state_that_fp16_does_not_hold_is_refused() -> None:
    source = create("teacher", "hidden_cache", {"states": "fp16"})
    assert isinstance(source, CachedTeacherSource)
    states = TeacherStates(torch.tensor([[[1.0, -70_000.0]]]), torch.zeros(3, 2), None)
    with pytest.raises(ModelError, match="70,000 is more than fp16 holds"):
        source.record(states, range(1))


@pytest.mark.parametrize("name", ["gemma2", "granite", "phi"])
def test_samples_are_drawn_from_the_models_distribution(name: str, tmp_path: Path) -> None:
    model = build(name)
    find_head(model)
    log_p = torch.log_softmax(own_logits(model), -1)
    said = cached(model, tmp_path, "sampled_cache").states(IDS, ROWS)
    torch.testing.assert_close(said.entropy, -(log_p.exp() * log_p).sum(-1), rtol=2e-3, atol=2e-3)


def test_rows_without_tokens_are_cut(family: str) -> None:
    padded = build(family, vocab_size=VOCAB + 16)
    before = own_logits(padded)
    cut = cut_rows(padded, VOCAB)
    found = find_head(cut)
    assert len(found.weight) == VOCAB == cut.config.vocab_size
    torch.testing.assert_close(own_logits(cut), before[..., :VOCAB], rtol=0, atol=1e-5)


def test_what_is_none_of_these_is_refused_by_name() -> None:
    model = build("llama")
    model.get_output_embeddings().register_forward_hook(lambda _, __, output: output + output.square())
    with pytest.raises(ModelError, match="logits of LlamaForCausalLM are not its head"):
        find_head(model)
