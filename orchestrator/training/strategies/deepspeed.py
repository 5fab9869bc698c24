"""DeepSpeed: data parallel over any number of workers, with ZeRO (arXiv:1910.02054). The one file that imports it."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from orchestrator.config.recipe import TrainingConfig
from orchestrator.errors import ResourceError, TrainingError
from orchestrator.losses import LossSums
from orchestrator.training.device import autocast, device_of
from orchestrator.training.strategies._base import (
    Losses,
    OptimizerPlugin,
    State,
    load_optimizer_state,
    on_cpu,
    optimizer_state,
    set_learning_rate,
)
from orchestrator.training.strategies._extension import find_ninja, sole_builder

if TYPE_CHECKING:
    from orchestrator.stages.base import Environment


@dataclass(frozen=True)
class DeepSpeed:
    """ZeRO with the recipe's torch optimizer, on GPUs (nccl) or CPU workers (gloo).

    Weights, gradients and optimizer state stay in fp32 and the forward pass runs under torch's autocast, exactly as in
    `single`, so the losses are the same to rounding. State leaves and enters whole, by parameter name: checkpoints hold
    no shards and no pickle, and fit any ZeRO stage and number of workers.
    """

    zero: Literal[0, 1, 2, 3] = 2
    """ZeRO stage: 0 replicates everything; 1 splits optimizer state over the workers; 2 also gradients; 3 weights."""

    def prepare(self) -> None:
        """Compile DeepSpeed's CPU communication op, once on a machine; from the cache afterwards.

        Raises:
            ResourceError: DeepSpeed, ninja or a C++ compiler is missing.
        """
        _import()
        if not torch.cuda.is_available():
            _load_cpu_op()

    def setup(
        self, model: nn.Module, optimizer: OptimizerPlugin, config: TrainingConfig, env: Environment, accumulation: int
    ) -> _Handle:
        """See :class:`orchestrator.training.strategies._base.Strategy`."""
        self._check(optimizer)
        deepspeed = _import(env)
        device = device_of(env)
        if device.type == "cpu":
            _load_cpu_op()
        _join_workers(deepspeed, env, "nccl" if device.type == "cuda" else "gloo")
        torch_optimizer = optimizer.build(model)
        engine, *_ = deepspeed.initialize(
            model=_Forward(model, config, device),
            optimizer=torch_optimizer,
            config=self._config(config, env, accumulation),
        )
        return _Handle(engine, model, torch_optimizer, self.zero, config.clip, env)

    def _check(self, optimizer: OptimizerPlugin) -> None:
        if self.zero and not optimizer.elementwise:
            name = type(optimizer).__name__.lower()
            raise TrainingError(
                f"{name} needs whole matrices, and ZeRO {self.zero} hands the optimizer flat shards of them",
                "training.optimizer",
                "set 'resources.strategy={type: deepspeed, zero: 0}' (or single, for one worker), "
                "or training.optimizer=adamw",
            )

    def _config(self, config: TrainingConfig, env: Environment, accumulation: int) -> dict[str, Any]:
        return {
            "train_micro_batch_size_per_gpu": config.micro_batch,
            "gradient_accumulation_steps": accumulation,
            "train_batch_size": config.micro_batch * accumulation * env.world_size,
            "gradient_clipping": config.clip if self.zero else 0.0,
            "zero_optimization": {"stage": self.zero},
            "zero_allow_untested_optimizer": True,
            "steps_per_print": 10**9,
        }


class _Forward(nn.Module):
    """The whole loss as one module's forward pass: under ZeRO-3 weights exist only inside of it."""

    def __init__(self, model: nn.Module, config: TrainingConfig, device: torch.device) -> None:
        super().__init__()
        self.model, self.precision, self.device = model, config.precision, device

    def forward(self, losses: Losses) -> LossSums:
        with autocast(self.device, self.precision):
            return losses(self.model)


class _Handle:
    def __init__(
        self, engine: Any, model: nn.Module, optimizer: torch.optim.Optimizer, zero: int, clip: float, env: Environment
    ) -> None:
        self.engine, self.model, self.optimizer = engine, model, optimizer
        self.zero, self.clip, self.rank, self.world_size = zero, clip, env.rank, env.world_size

    def forward(self, losses: Losses) -> LossSums:
        return LossSums(*self.engine(losses))

    def backward(self, loss: Tensor) -> None:
        # The engine averages over workers, where the sum is meant; dividing by the accumulation is done already.
        self.engine.backward(loss * self.world_size, scale_wrt_gas=False)
        if not self.engine.is_gradient_accumulation_boundary():
            self.engine.step()  # updates nothing; the engine counts micro-batches by it

    def step(self, lr: float) -> Tensor:
        set_learning_rate(self.optimizer, lr)
        if self.zero:
            self.engine.step()
            return torch.as_tensor(self.engine.get_global_grad_norm())
        # Without ZeRO the engine clips but does not tell the norm.
        norm = nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], self.clip)
        self.engine.step()
        return norm

    def mode(self, training: bool) -> None:
        self.engine.train(training)

    def weights(self) -> State:
        from deepspeed.utils import safe_get_full_fp32_param

        read = safe_get_full_fp32_param if self.zero else lambda parameter: parameter
        return self._kept((name, read(parameter)) for name, parameter in self.model.named_parameters())

    def optimizer_state(self) -> State:
        if not self.zero:
            return optimizer_state(self.optimizer, self.model) if self.rank == 0 else {}
        from deepspeed.utils import safe_get_full_optimizer_state

        self._link()
        keys = self.optimizer.state[self._shards()[0]]
        return self._kept(
            (f"{name}/{key}", safe_get_full_optimizer_state(parameter, key) if value.ndim else value)
            for name, parameter in self.model.named_parameters()
            for key, value in keys.items()
        )

    def load_optimizer_state(self, state: State) -> None:
        if not self.zero:
            load_optimizer_state(self.optimizer, self.model, state)
            return
        from deepspeed.utils import safe_set_full_optimizer_state

        # Moments are spread over the shards; scalars (the step) are the same for all.
        keyed = {path.rsplit("/", 1)[1]: value for path, value in state.items()}
        spread = sorted(key for key, value in keyed.items() if value.ndim)
        shared = {key: value for key, value in keyed.items() if not value.ndim}
        for shard in self._shards():
            fresh = {key: value.to(shard.device, copy=True) for key, value in shared.items()}
            self.optimizer.state[shard] = fresh | {key: torch.zeros_like(shard) for key in spread}
        self._link()
        for name, parameter in self.model.named_parameters():
            for key in spread:
                safe_set_full_optimizer_state(parameter, state[f"{name}/{key}"].to(parameter.device), key)

    def _kept(self, tensors: Iterator[tuple[str, Tensor]]) -> State:
        """Tensors that all workers put together, one at a time: kept by rank 0."""
        return {name: on_cpu(tensor) for name, tensor in tensors if self.rank == 0}

    def _link(self) -> None:
        """Let every parameter find its part of the optimizer's state.

        ZeRO 1 and 2 do so once, after the step of the first parameter group, when later groups have no state yet.
        """
        if self.zero < 3:
            self.engine.optimizer._hp_optimizer_states_linked = False
            self.engine.optimizer._lazy_init_hp_params_optimizer_state()

    def _shards(self) -> list[Tensor]:
        """The worker's flat fp32 shards of the weights, which the torch optimizer's state is keyed by."""
        zero = self.engine.optimizer
        shards: list[Tensor] = (
            zero.fp32_partitioned_groups_flat if self.zero == 3 else zero.single_partition_of_fp32_groups
        )
        return shards


def _import(env: Environment | None = None) -> Any:
    """DeepSpeed, quiet, on the accelerator that the environment asks for."""
    if env is not None and env.device == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        import deepspeed
    except ImportError:
        raise ResourceError(
            "DeepSpeed is not installed",
            "resources.strategy",
            "pip install 'mome-orchestrator[cluster]', or set resources.strategy=single",
        ) from None
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    return deepspeed


def _load_cpu_op() -> None:
    """Load the op that DeepSpeed sums gradients with on CPU workers; compile it where that has not been done."""
    from deepspeed.ops.op_builder.cpu.comm import ShareMemCommBuilder

    find_ninja()
    try:
        with sole_builder(ShareMemCommBuilder.NAME) as built:
            if not built:
                print("DeepSpeed's CPU op: compiling it, once on a machine, about a minute", flush=True)
            ShareMemCommBuilder().load(verbose=False)
    except (RuntimeError, OSError) as error:
        raise ResourceError(
            f"DeepSpeed's CPU op can't be compiled: {str(error).splitlines()[0]}",
            "resources.strategy",
            "install a C++ compiler and ninja, or set resources.strategy=single",
        ) from None


def _join_workers(deepspeed: Any, env: Environment, backend: str) -> None:
    """Join the process group: the one there is, the one the launcher describes, or a group of one."""
    if not torch.distributed.is_initialized() and env.world_size == 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        alone = {
            "RANK": "0",
            "LOCAL_RANK": "0",
            "WORLD_SIZE": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        os.environ.update(alone)
    if not torch.distributed.is_initialized() and "MASTER_ADDR" not in os.environ:
        raise TrainingError(
            f"{env.world_size} workers were asked for and nothing has connected them",
            "resources.workers",
            "run without --local (Ray starts the workers), or set resources.workers=1",
        )
    os.environ.setdefault("LOCAL_RANK", "0")
    deepspeed.init_distributed(backend, auto_mpi_discovery=False, verbose=False)
    if torch.distributed.get_world_size() != env.world_size:
        raise TrainingError(
            f"{torch.distributed.get_world_size()} workers are connected, {env.world_size} were asked for",
            "resources.workers",
        )
