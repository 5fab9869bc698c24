"""Laws of every optimizer, under the strategies that can run it. A new optimizer inherits them."""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import TrainingConfig
from orchestrator.environment import Environment
from orchestrator.models import build_model
from orchestrator.plugins import available, create
from orchestrator.training.batches import Batch
from orchestrator.training.objective import CrossEntropyObjective
from orchestrator.training.optimizers import OptimizerPlugin
from orchestrator.training.strategies._base import (
    Handle,
    load_optimizer_state,
    optimizer_state,
    set_learning_rate,
)

ROOM, OPTIONS = "training.optimizers", {}
NAMES = available(ROOM)
SPEC, VOCAB, CONTEXT = PluginSpec(type="gpt2", layers=1, width=16, heads=2), 30, 8
CONFIG = TrainingConfig(precision="fp32")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make(name: str, **options: float) -> OptimizerPlugin:
    plugin: OptimizerPlugin = create(ROOM, name, {**OPTIONS.get(name, {}), **options})
    return plugin


def new_model() -> nn.Module:
    return build_model(SPEC, VOCAB, CONTEXT, seed=0)


def loss(model: nn.Module, step: int) -> Tensor:
    ids = torch.randint(VOCAB, (4, CONTEXT + 1), generator=torch.Generator().manual_seed(step % 3))
    logits = model(input_ids=ids[:, :-1]).logits
    return nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range, lr: float = 1e-2) -> list[float]:
    losses = []
    for step in steps:
        set_learning_rate(optimizer, lr / (1 + step))
        value = loss(model, step)
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(value.item())
    return losses


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def random_gradients(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_is_a_plugin_that_pickles(name: str) -> None:
    plugin = make(name, lr=0.01)
    assert pickle.loads(pickle.dumps(plugin)) == plugin
    assert plugin.lr == 0.01
    assert isinstance(plugin.elementwise, bool)


def test_steps_lower_the_loss(name: str) -> None:
    model = new_model()
    losses = train(model, make(name).build(model), range(30))
    assert sum(losses[-3:]) < sum(losses[:3]) - 0.3


def test_every_trainable_parameter_is_in_one_group(name: str) -> None:
    model = new_model()
    frozen = next(iter(model.parameters())).requires_grad_(False)
    held = [id(p) for group in make(name).build(model).param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p is not frozen)


def test_saved_and_loaded_state_goes_on_bit_for_bit(name: str) -> None:
    model, other = new_model(), new_model()
    optimizer, resumed = make(name).build(model), make(name).build(other)
    train(model, optimizer, range(3))
    other.load_state_dict(model.state_dict())
    load_optimizer_state(resumed, other, optimizer_state(optimizer, model))
    train(model, optimizer, range(3, 6))
    train(other, resumed, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_a_group_scales_its_learning_rate(name: str) -> None:
    model = new_model()
    before, optimizer = weights(model), make(name).build(model)
    optimizer.param_groups[0]["lr_scale"] = 0.0
    still = {id(p) for p in optimizer.param_groups[0]["params"]}
    random_gradients(model)
    set_learning_rate(optimizer, 0.1)
    optimizer.step()
    for key, parameter in model.named_parameters():
        assert torch.equal(parameter, before[key]) == (id(parameter) in still), key


def test_vectors_do_not_decay_and_matrices_do(name: str) -> None:
    models = [new_model() for _ in range(2)]
    for model, decay in zip(models, (0.0, 0.5), strict=True):
        optimizer = make(name, weight_decay=decay).build(model)
        random_gradients(model)
        set_learning_rate(optimizer, 0.1)
        optimizer.step()
    for (key, plain), (_, decayed) in zip(*(weights(model).items() for model in models), strict=True):
        assert torch.equal(plain, decayed) == (plain.ndim < 2), key


def test_parameters_without_a_gradient_are_left_alone(name: str) -> None:
    model = new_model()
    optimizer = make(name).build(model)
    train(model, optimizer, range(2))  # there is momentum and decay to move them by
    before = weights(model)
    random_gradients(model)
    skipped = [key for key in before if ".attn." in key or "wpe" in key or "ln_1" in key]
    for key in skipped:
        model.get_parameter(key).grad = None
    optimizer.step()
    for key, parameter in model.named_parameters():
        assert torch.equal(parameter, before[key]) == (key in skipped), key


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
def test_deepspeed_without_zero_takes_the_same_steps(name: str, tmp_path) -> None:
    found = []
    for strategy in ("single", "deepspeed"):
        options = {"zero": 0} if strategy == "deepspeed" else {}
        env = Environment(work=tmp_path, strategy=PluginSpec(type=strategy, **options))
        handle = create("training.strategies", strategy, options).setup(new_model(), make(name), CONFIG, env)
        for step in range(3):
            objective_step(handle, step)
        found.append((handle.weights(), handle.optimizer_state()))
    for ours, theirs in zip(*found, strict=True):
        assert ours.keys() == theirs.keys()
        for key in ours:
            torch.testing.assert_close(theirs[key], ours[key], rtol=1e-5, atol=1e-7)


def objective_step(handle: Handle, step: int) -> None:
    ids = torch.randint(VOCAB, (4, CONTEXT + 1), generator=torch.Generator().manual_seed(step))
    batch = Batch(ids[:, :-1], ids[:, 1:], torch.zeros(4, 2, dtype=torch.int64))
    sums = handle.forward(lambda model: CrossEntropyObjective().losses(model, batch, 1.0, 0.0))
    handle.backward(sums.loss / batch.labels.numel())
    handle.step(1e-2)
