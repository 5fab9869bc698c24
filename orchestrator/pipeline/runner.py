"""What runs the steps of a plan, as the executor sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from orchestrator.memory import Used
from orchestrator.pipeline.graph import Step


class Runner(Protocol):
    """Where steps run: this process, or a Ray cluster."""

    @property
    def slots(self) -> int:
        """Trainings at the same time."""

    def expect(self, steps: Sequence[Step]) -> None:
        """Hear of the steps that are to be run, before the first one is. Returns at once."""

    def run(
        self, step: Step, inputs: Mapping[str, Path], out: Path, work: Path, begun: Callable[[], None]
    ) -> Used | None:
        """Run one step to its end, and say what memory it took, if that is known.

        Called from several threads at once; `begun` is called when its turn has come.

        Raises:
            MomeError: what a person can mend.
        """

    def stop(self, name: str) -> None:
        """Let a step end soon, which waits for its turn or is at work; its `run` raises something. Returns at once."""

    def close(self) -> None:
        """Let go of everything that was started."""
