"""DeepSpeed: data parallel over any number of workers, with ZeRO (arXiv:1910.02054)."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from orchestrator.config.recipe import TrainingConfig
from orchestrator.errors import ResourceError, TrainingError
from orchestrator.processes import large_imports
from orchestrator.training.device import device_of
from orchestrator.training.optimizers import OptimizerPlugin
from orchestrator.training.parts import Parts, Share
from orchestrator.training.strategies._base import WHOLE
from orchestrator.training.strategies._engine import EngineHandle, Forward, ZeroHandle, split_by_part
from orchestrator.training.strategies._extension import find_ninja, sole_builder
from orchestrator.training.strategies._group import join_workers

if TYPE_CHECKING:
    from orchestrator.environment import Environment


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
        self,
        model: nn.Module,
        optimizer: OptimizerPlugin,
        config: TrainingConfig,
        env: Environment,
        parts: Parts | None = None,
        share: Share = WHOLE,  # noqa: ARG002
    ) -> EngineHandle:
        """See :class:`orchestrator.training.strategies._base.Strategy`."""
        self._check(optimizer)
        deepspeed = _import(env)
        device = device_of(env)
        if device.type == "cpu":
            _load_cpu_op()
        join_workers(env, device)
        deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)
        torch_optimizer = optimizer.build(model)
        if self.zero and parts is not None:
            split_by_part(torch_optimizer, model, parts)
        engine, *_ = deepspeed.initialize(
            model=Forward(model, config, device), optimizer=torch_optimizer, config=self._config(config, env)
        )
        if self.zero:
            return ZeroHandle(self.zero, engine, model, torch_optimizer, parts, config.clip, env)
        return EngineHandle(engine, model, torch_optimizer, parts, config.clip, env)

    def _check(self, optimizer: OptimizerPlugin) -> None:
        if self.zero and not optimizer.elementwise:
            name = type(optimizer).__name__.lower()
            raise TrainingError(
                f"{name} needs whole matrices, and ZeRO {self.zero} hands the optimizer flat shards of them",
                "training.optimizer",
                "set 'resources.strategy={type: deepspeed, zero: 0}' (or single, for one worker), "
                "or training.optimizer=adamw",
            )

    def _config(self, config: TrainingConfig, env: Environment) -> dict[str, Any]:
        return {
            "train_micro_batch_size_per_gpu": config.micro_batch,
            "gradient_accumulation_steps": 1,  # how many there are, `backward` says
            "train_batch_size": config.micro_batch * env.world_size,
            "gradient_clipping": config.clip if self.zero else 0.0,
            "zero_optimization": {"stage": self.zero},
            "zero_allow_untested_optimizer": True,
            "steps_per_print": 10**9,
        }


def _import(env: Environment | None = None) -> Any:
    """DeepSpeed, quiet, on the accelerator that the environment asks for."""
    if env is not None and env.device == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        with large_imports():
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
