"""Tiny stages in a module that workers can import."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from orchestrator.environment import Environment
from orchestrator.errors import OutOfMemoryError, TrainingError
from orchestrator.stages.base import Stage


class Sleep(Stage):
    """Trains nothing for a while, or until so many trainings have begun, and says when."""

    distributed: ClassVar[bool] = True
    seconds: float = 0.0
    together: int | None = None

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        start = time.time()
        (env.work / "begun").touch()
        while time.time() < start + self.seconds:
            if self.together and len(list(env.work.parent.parent.glob("*/work/begun"))) >= self.together:
                break
            time.sleep(0.05)
        facts = {"start": start, "end": time.time(), "rank": env.rank, "world": env.world_size, "threads": env.threads}
        facts["pid"] = os.getpid()
        (out / f"rank{env.rank}.json").write_text(json.dumps({**facts, "strategy": env.strategy.type}))


class Measures(Sleep):
    """No training: it computes in one process."""

    distributed: ClassVar[bool] = False
    accelerated: ClassVar[bool] = True


class SpreadsExperts(Stage):
    """Trains two layers, each on its worker, for a step."""

    distributed: ClassVar[bool] = True
    by_parts: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        from torch import nn, ones

        from orchestrator.config.base import build
        from orchestrator.config.recipe import TrainingConfig
        from orchestrator.training.optimizers.adamw import AdamW
        from orchestrator.training.parts import Parts
        from orchestrator.training.strategies._base import share_of

        def keep(model: nn.Module, languages: frozenset[str]) -> None:
            for name in {"en", "fr"} - languages:
                delattr(model, name)

        parts = Parts(lambda name: name.partition(".")[0], lambda languages: languages, keep)
        model = nn.ModuleDict({name: nn.Linear(1, 1, bias=False) for name in ("en", "fr")})
        strategy = build("training.strategies", env.strategy)
        share = share_of(strategy, ("en", "fr"), parts, env)
        handle = strategy.setup(model, AdamW(), TrainingConfig(), env, parts, share)
        handle.backward(sum(module(ones(1)).sum() for module in model.values()))
        norm = float(handle.step(0.1, frozenset({"en", "fr"})))
        facts = {"trained": list(model), "norm": norm, "weights": sorted(handle.weights())}
        facts |= {"rank": env.rank, "world": env.world_size}
        (out / f"rank{env.rank}.json").write_text(json.dumps(facts))


class Dies(Stage):
    """Its worker is killed in the first attempts."""

    distributed: ClassVar[bool] = True
    deaths: int = 1

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        attempts = len(list(env.work.glob("attempt*")))
        (env.work / f"attempt{attempts}").touch()
        if attempts < self.deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        (out / "alive").touch()


class Fails(Stage):
    """Meets an error that a person can mend, or a bug."""

    distributed: ClassVar[bool] = True
    bug: bool = False

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        (env.work / f"attempt{len(list(env.work.glob('attempt*')))}").touch()
        if self.bug:
            raise ZeroDivisionError("a bug")
        raise TrainingError("the loss is not finite", "step 7", "a lower learning rate")


class FailsAsTask(Fails):
    """The same, in a task."""

    distributed: ClassVar[bool] = False


class Exits(Stage):
    """Ends its worker's process, or asks for it."""

    distributed: ClassVar[bool] = True
    politely: bool = True

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        sys.exit(0) if self.politely else os._exit(0)


class ExitsAsTask(Exits):
    """The same, in a task."""

    distributed: ClassVar[bool] = False


class OddError(Exception):
    """Can't be made again from what it was sent as."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class FailsOddly(Stage):
    """Raises what can't be read by others."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        raise OddError("this", "that")


class Goes(Stage):
    """Trains for as long as it is let, with checkpoints."""

    distributed: ClassVar[bool] = True
    seconds: float = 600.0

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        end, number = time.time() + self.seconds, 0
        while time.time() < end:
            number += 1
            (env.work / "checkpoints" / f"step-{number}").mkdir(parents=True, exist_ok=True)
            time.sleep(0.5)


class GoesAsTask(Goes):
    """The same, in a task."""

    distributed: ClassVar[bool] = False


class WaitsThenFails(Stage):
    """Meets a bug when a file is there."""

    wait_for: str
    accelerated: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        while not list(Path("/").glob(self.wait_for)):
            time.sleep(0.1)
        raise ZeroDivisionError("a bug")


class Holds(Stage):
    """Holds so much memory, and each of its items so much, until another step has begun too."""

    megabytes: int = 0
    items: tuple[int, ...] = ()
    together: bool = False

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        held = bytes(self.megabytes * 10**6).replace(b"\0", b"\1")
        (env.work.parent / f"begun-{os.getpid()}").touch()
        deadline = time.monotonic() + 60
        while self.together and len(list(env.work.parent.glob("begun-*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        found = sum(env.map(_hold, self.items))
        if env.rank == 0:
            (out / "held").write_text(str(len(held) + found))


class HoldsInTraining(Holds):
    """The same in every worker of a training."""

    distributed: ClassVar[bool] = True


def _hold(megabytes: int) -> int:
    time.sleep(0.2)  # so that more than one worker takes some
    return len(bytes(megabytes * 10**6).replace(b"\0", b"\1"))


class Squares(Stage):
    """Maps over numbers in parallel, the early ones slowest."""

    count: int = 10
    fail_at: int = -1

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        results = list(env.map(_square, ((i, self.count, self.fail_at) for i in range(self.count))))
        (out / "squares.json").write_text(json.dumps(results))


def _square(item: tuple[int, int, int]) -> int:
    number, count, fail_at = item
    time.sleep((count - number) * 0.01)
    if number == fail_at:
        raise TrainingError("an odd number", f"item {number}", "another one")
    return number * number


class NeedsMemory(Stage):
    """Computes at most so many blocks at once."""

    distributed: ClassVar[bool] = True
    fits: int = 3

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        at_once = env.micro_batch or 8
        if at_once > self.fits:
            raise OutOfMemoryError(f"too little memory for {at_once}", "resources.micro_batch", "less", at_once)
        (out / f"rank{env.rank}.json").write_text(json.dumps({"at_once": at_once}))
