"""A model under training by a DeepSpeed engine, with and without ZeRO. With `deepspeed.py` all that knows DeepSpeed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from orchestrator.config.recipe import TrainingConfig
from orchestrator.losses import LossSums
from orchestrator.training.device import autocast
from orchestrator.training.parts import Parts
from orchestrator.training.strategies._base import (
    Losses,
    State,
    load_optimizer_state,
    on_cpu,
    optimizer_state,
    set_learning_rate,
)

if TYPE_CHECKING:
    from orchestrator.environment import Environment


class Forward(nn.Module):
    """The whole loss as one module's forward pass: under ZeRO-3 weights exist only inside of it."""

    def __init__(self, model: nn.Module, config: TrainingConfig, device: torch.device) -> None:
        super().__init__()
        self.model, self.precision, self.device = model, config.precision, device

    def forward(self, losses: Losses) -> LossSums:
        with autocast(self.device, self.precision):
            return losses(self.model)


class EngineHandle:
    """Without ZeRO: the torch optimizer works on the model's own parameters."""

    def __init__(
        self,
        engine: Any,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        parts: Parts | None,
        clip: float,
        env: Environment,
    ) -> None:
        self.engine, self.model, self.optimizer, self.parts, self.clip = engine, model, optimizer, parts, clip
        self.rank, self.world_size = env.rank, env.world_size

    def forward(self, losses: Losses) -> LossSums:
        return LossSums(*self.engine(losses))

    def backward(self, loss: Tensor, last: bool = True) -> None:
        # Before the backward pass, in which DeepSpeed asks for it: the workers' gradients are summed at the boundary.
        self.engine.set_gradient_accumulation_boundary(last)
        # The engine averages over workers, where the sum is meant; dividing by the accumulation is done already.
        self.engine.backward(loss * self.world_size, scale_wrt_gas=False)

    def step(self, lr: float, selected: frozenset[str] | None = None) -> Tensor:
        set_learning_rate(self.optimizer, lr)
        if self.parts is not None and selected is not None:
            self.parts.clear_unselected(self.model, selected)  # before the norm, which they don't count in
        # The engine would clip, but not tell the norm.
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.engine.step()
        return norm

    def mode(self, training: bool) -> None:
        self.engine.train(training)

    def weights(self) -> State:
        return {name: on_cpu(weight) for name, weight in self.model.named_parameters()} if self.rank == 0 else {}

    def optimizer_state(self) -> State:
        return optimizer_state(self.optimizer, self.model) if self.rank == 0 else {}

    def load_optimizer_state(self, state: State) -> None:
        load_optimizer_state(self.optimizer, self.model, state)


class _Shard(NamedTuple):
    """What a worker holds of some parameters of one part: a flat tensor that the torch optimizer works on."""

    part: str | None
    parameters: dict[str, nn.Parameter]
    flat: Tensor


class ZeroHandle(EngineHandle):
    """ZeRO 1, 2 and 3: the torch optimizer works on flat shards, each of parameters of one group.

    DeepSpeed gives all of them gradients, of zeros where there were none, so that momentum and decay would move what a
    step did not select. Torch's optimizers pass over what has no gradient: unselected shards lose theirs just before.
    """

    def __init__(self, stage: int, engine: Any, model: nn.Module, *others: Any) -> None:
        super().__init__(engine, model, *others)
        self.stage, self.zero = stage, engine.optimizer  # DeepSpeed's wrapper around the torch optimizer
        self.shards = self._shards()
        self.unselected: list[_Shard] = []
        # DeepSpeed sets the shards' gradients within its step, so the last moment to drop one is the inner step.
        self.optimizer.register_step_pre_hook(lambda *_: self._pass_over())

    def step(self, lr: float, selected: frozenset[str] | None = None) -> Tensor:
        set_learning_rate(self.optimizer, lr)
        for index, shard in enumerate(self.shards):
            if selected is not None and shard.part not in selected:
                self.unselected.append(shard)
                # `averaged_gradients` (private) has this worker's gradients by parameter group, from which the step
                # makes the norm: those of unselected groups count as nothing.
                for gradient in self.zero.averaged_gradients[index]:
                    gradient.zero_()
        self.engine.step()
        self.unselected.clear()  # after the step, whose hook reads it
        if self.parts is not None and self.stage == 3:
            # The first micro-batch of a step overwrites the gradients of what it uses in this private buffer, and later
            # ones add to it. What the first does not use would be added to the gradient of an earlier step.
            self.zero.grad_partitions_flat_buffer.zero_()
        return torch.as_tensor(self.engine.get_global_grad_norm())

    def weights(self) -> State:
        return self._kept((name, self._whole(parameter)) for name, parameter in self.model.named_parameters())

    def optimizer_state(self) -> State:
        from deepspeed.utils import safe_get_full_optimizer_state

        self._link()
        # In the order of the shards, the same on every worker: each whole tensor is gathered by all of them together.
        return self._kept(
            (f"{name}/{key}", safe_get_full_optimizer_state(parameter, key) if value.ndim else value)
            for shard in self.shards
            for name, parameter in shard.parameters.items()
            for key, value in self.optimizer.state.get(shard.flat, {}).items()
        )

    def load_optimizer_state(self, state: State) -> None:
        by_name: dict[str, State] = {}
        for path, value in state.items():
            name, key = path.rsplit("/", 1)
            by_name.setdefault(name, {})[key] = value
        # Moments are spread over the shards; scalars (the step) are the same for all of a part. One that was never
        # selected has neither.
        for shard in self.shards:
            known = [by_name[name] for name in shard.parameters if name in by_name]
            if known:
                self.optimizer.state[shard.flat] = {
                    key: torch.zeros_like(shard.flat) if value.ndim else value.to(shard.flat.device, copy=True)
                    for key, value in known[0].items()
                }
        self._link()
        for name, parameter in self.model.named_parameters():
            for key, value in by_name.get(name, {}).items():
                if value.ndim:
                    self._spread(parameter, key, value.to(parameter.device))

    def _pass_over(self) -> None:
        for shard in self.unselected:
            shard.flat.grad = None

    def _shards(self) -> list[_Shard]:
        # Private lists of DeepSpeed: parameters by group, and this worker's flat fp32 tensor of each group. The names
        # say "fp16" and "bit16" whatever the precision; here both are fp32.
        if self.stage == 3:
            groups, flats = self.zero.fp16_groups, self.zero.fp32_partitioned_groups_flat
        else:
            groups, flats = self.zero.bit16_groups, self.zero.single_partition_of_fp32_groups
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        named = [{names[id(parameter)]: parameter for parameter in group} for group in groups]
        part_of = self.parts.part_of if self.parts is not None else lambda _: None
        return [_Shard(part_of(next(iter(group))), group, flat) for group, flat in zip(named, flats, strict=True)]

    def _whole(self, parameter: nn.Parameter) -> Tensor:
        import deepspeed

        if parameter.requires_grad:
            whole: Tensor = deepspeed.utils.safe_get_full_fp32_param(parameter)
            return whole
        with deepspeed.zero.GatheredParameters(parameter, enabled=self.stage == 3):
            return parameter.detach().clone()

    def _spread(self, parameter: Any, key: str, value: Tensor) -> None:
        """Put this worker's part of a parameter's state where it belongs."""
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        if self.stage < 3:
            safe_set_full_optimizer_state(parameter, value, key)
            return
        # DeepSpeed's own setter takes no parameter that does not divide by the workers: the last part is padded.
        size = parameter.partition_numel()
        mine = value.flatten()[size * self.rank :][:size]
        safe_set_local_optimizer_state(parameter, nn.functional.pad(mine, (0, size - len(mine))), key)

    def _kept(self, tensors: Iterator[tuple[str, Tensor]]) -> State:
        """Tensors that all workers put together, one at a time: kept by rank 0."""
        return {name: on_cpu(tensor) for name, tensor in tensors if self.rank == 0}

    def _link(self) -> None:
        """Let every parameter find its part of the optimizer's state.

        ZeRO 1 and 2 do so once, after the step of the first parameter group, when later groups have no state yet.
        """
        if self.stage < 3:
            # Private: the flag says that all parameters are linked, and the function links those that have a state.
            self.zero._hp_optimizer_states_linked = False
            self.zero._lazy_init_hp_params_optimizer_state()


def split_by_part(optimizer: torch.optim.Optimizer, model: nn.Module, parts: Parts) -> None:
    """Split parameter groups so that each is of one part, and so is every shard."""
    part = {id(parameter): parts.part_of(name) for name, parameter in model.named_parameters()}
    optimizer.param_groups[:] = [
        {**group, "params": [parameter for parameter in group["params"] if part[id(parameter)] == chosen]}
        for group in optimizer.param_groups
        for chosen in sorted({part[id(parameter)] for parameter in group["params"]})
    ]
