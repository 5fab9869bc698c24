"""Experts in parallel: every worker, or group of workers, trains experts of its own, and all of them what is shared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from orchestrator.config.recipe import TrainingConfig
from orchestrator.errors import TrainingError
from orchestrator.training.device import device_of, total
from orchestrator.training.optimizers import OptimizerPlugin
from orchestrator.training.parts import Parts, Share
from orchestrator.training.strategies._base import (
    WHOLE,
    State,
    load_optimizer_state,
    on_cpu,
    set_learning_rate,
)
from orchestrator.training.strategies._group import join_workers
from orchestrator.training.strategies._plain import PlainHandle

if TYPE_CHECKING:
    from orchestrator.environment import Environment


@dataclass(frozen=True)
class ExpertParallel:
    """The experts of a mixture, spread over the workers (nccl on GPUs, gloo on CPUs); four GPUs train four at once.

    Of w workers and E languages, worker r holds the experts of languages r, r + w, … where w ≤ E. Where w is a multiple
    of E, each expert is shared by w / E workers, data parallel. A worker gets the rows of its languages only, and holds
    only its experts beside the shared and common parts, whose gradients are summed over all workers. The losses are
    those of one process on the same batches, to rounding. Speed-up needs batches of several languages, best `balanced`.
    """

    by_parts: ClassVar[bool] = True
    """It trains models of parts only; whatever else a run trains is trained as by default."""

    def share(self, languages: tuple[str, ...], parts: Parts | None, env: Environment) -> Share:
        """The rows that a worker gets.

        Raises:
            TrainingError: the model has no parts, or there are more workers than languages and no multiple of them.
        """
        workers, experts = env.world_size, len(languages)
        if parts is None:
            raise TrainingError(
                "strategy `expert_parallel` spreads the experts of a mixture, and this model has none",
                "resources.strategy",
                "train it with resources.strategy=auto first; what is trained already is not trained again",
            )
        if workers <= experts:
            return Share(languages=languages[env.rank :: workers])
        if workers % experts:
            fewer = workers // experts * experts
            raise TrainingError(
                f"{workers} workers can't share the experts of {experts} languages evenly",
                "resources.workers",
                f"set it to {fewer} or {fewer + experts}",
            )
        return Share(env.rank // experts, workers // experts, (languages[env.rank % experts],))

    def setup(
        self,
        model: nn.Module,
        optimizer: OptimizerPlugin,
        config: TrainingConfig,
        env: Environment,
        parts: Parts | None = None,
        share: Share = WHOLE,
    ) -> _Handle:
        """See :class:`orchestrator.training.strategies._base.Strategy`."""
        assert parts is not None, "`share` refuses models without"
        assert share.languages is not None
        device = device_of(env)
        join_workers(env, device)
        whole = {parts.part_of(name) for name, _ in model.named_parameters()}
        parts.keep(model, frozenset(share.languages))
        holders = _holders({parts.part_of(name) for name, _ in model.named_parameters()}, env.world_size)
        if lost := whole - holders.keys():
            raise TrainingError(
                f"no worker holds {', '.join(sorted(lost))}: an expert that is neither trained nor validated",
                "resources.strategy",
                "set resources.strategy=deepspeed, or single for one worker",
            )
        model.to(device)
        return _Handle(model, optimizer.build(model), config, device, parts, holders, env)


class _Handle(PlainHandle):
    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: TrainingConfig,
        device: torch.device,
        parts: Parts,
        holders: Mapping[str, tuple[int, ...]],
        env: Environment,
    ) -> None:
        super().__init__(model, optimizer, config, device, parts)
        self.part_of, self.rank, self.world_size = parts.part_of, env.rank, env.world_size
        # Every worker takes part in making every group. A worker counts and hands over what it is the first to hold.
        several = sorted({workers for workers in holders.values() if len(workers) > 1})
        groups = {workers: torch.distributed.new_group(list(workers)) for workers in several}
        self.first_of = {part for part, workers in holders.items() if workers[0] == env.rank}
        trained: dict[str, list[nn.Parameter]] = {part: [] for part in sorted(holders)}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                trained[parts.part_of(name)].append(parameter)
        # In the same order everywhere, so that workers of several groups don't wait for each other.
        self.gradients = {
            part: _Gradients(parameters, groups.get(holders[part]))
            for part, parameters in trained.items()
            if parameters
        }

    def step(self, lr: float, selected: frozenset[str] | None = None) -> Tensor:
        chosen = {part: gradients for part, gradients in self.gradients.items() if selected is None or part in selected}
        squares = torch.zeros((), device=self.device)
        for part, gradients in chosen.items():
            gradients.sum_up()
            if part in self.first_of:
                squares += torch.linalg.vector_norm(gradients.flat).square()
        norm = total(squares, self.world_size).sqrt()
        for part, gradients in self.gradients.items():
            if part in chosen:
                gradients.flat.mul_(torch.clamp(self.config.clip / (norm + 1e-6), max=1.0))
            else:
                gradients.detach()
        set_learning_rate(self.optimizer, lr)
        self.optimizer.step()
        for gradients in self.gradients.values():
            gradients.clear()
        return norm

    def weights(self) -> State:
        return self._collect(self._handed_over())

    def optimizer_state(self) -> State:
        return self._collect(
            (f"{name}/{key}", value)
            for name, parameter in self._handed_over()
            for key, value in self.optimizer.state[parameter].items()
        )

    def load_optimizer_state(self, state: State) -> None:
        held = {name for name, _ in self.model.named_parameters()}
        mine = {path: value for path, value in state.items() if path.rsplit("/", 1)[0] in held}
        load_optimizer_state(self.optimizer, self.model, mine)

    def _handed_over(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, p) for name, p in self.model.named_parameters() if self.part_of(name) in self.first_of)

    def _collect(self, tensors: Iterable[tuple[str, Tensor]]) -> State:
        """Tensors of all workers, sent to rank 0 one at a time."""
        mine = dict(tensors)
        described: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(
            described, [(name, value.shape, value.dtype) for name, value in mine.items()]
        )
        if self.rank:
            for value in mine.values():
                torch.distributed.send(value.detach().to(self.device).contiguous(), 0)
            return {}
        state = {name: on_cpu(value) for name, value in mine.items()}
        for sender in range(1, self.world_size):
            for name, shape, dtype in described[sender]:
                received = torch.empty(shape, dtype=dtype, device=self.device)
                torch.distributed.recv(received, sender)
                state[name] = on_cpu(received)
        return state


class _Gradients:
    """The gradients of a part's parameters, side by side in one flat tensor, so that one call sums all of them.

    Args:
        parameters: of the part.
        group: the workers that hold it; None: this one alone.
    """

    def __init__(self, parameters: list[nn.Parameter], group: torch.distributed.ProcessGroup | None) -> None:
        self.parameters, self.group = parameters, group
        sizes = [parameter.numel() for parameter in parameters]
        self.flat = torch.zeros(sum(sizes), device=parameters[0].device)
        pairs = zip(torch.split(self.flat, sizes), parameters, strict=True)
        self.views = [view.view_as(parameter) for view, parameter in pairs]
        self.clear()

    def sum_up(self) -> None:
        """Add up the workers' gradients, on each of them."""
        if self.group is not None:
            torch.distributed.all_reduce(self.flat, group=self.group)

    def detach(self) -> None:
        """Leave the parameters without gradients, so that the optimizer passes over them."""
        for parameter in self.parameters:
            parameter.grad = None

    def clear(self) -> None:
        """Set the gradients to zero; backward passes add to them."""
        self.flat.zero_()
        for parameter, view in zip(self.parameters, self.views, strict=True):
            parameter.grad = view


def _holders(held: set[str], world_size: int) -> dict[str, tuple[int, ...]]:
    """The ranks of the workers that hold each part."""
    by_rank: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(by_rank, held)
    parts = sorted(set().union(*by_rank))
    return {part: tuple(rank for rank in range(world_size) if part in by_rank[rank]) for part in parts}
