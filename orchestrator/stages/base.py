"""What a stage is, and what it is given to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from orchestrator.config.base import PluginSpec, Section
from orchestrator.config.identity import identity
from orchestrator.config.recipe import TrainingConfig
from orchestrator.environment import Environment


@dataclass(frozen=True)
class Cost:
    """What a stage is expected to take, before it runs; 0 where it is not known or not worth saying.

    Attributes:
        parameters: of the model in training.
        tokens: to be read.
        flops: floating-point operations.
        memory_bytes: largest resident memory of a worker.
        disk_bytes: of a large result.
        training: the run, where the stage is one, on `tokens` tokens.
        seconds: about, on one core, of a stage that works long without a model.
        note: a sentence that the plan says.
    """

    parameters: int = 0
    tokens: int = 0
    flops: float = 0.0
    memory_bytes: int = 0
    disk_bytes: int = 0
    training: TrainingConfig | None = None
    seconds: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Expected:
    """What the recipe says of artifacts that may not exist yet, for costs.

    Attributes:
        vocab_size, context: of blocks.
        languages: how many.
        tokens_per_language: of the training split; None: not known before they are counted.
        teacher, expert: their architectures.
        blocks: of each language by split, about; empty: nobody can tell before the text is read.
        tokenizer: folder of a given one, or of the teacher's; None: it is trained.
        cuts_vocabulary: experts have some of the tokens.
        teacher_tokenizer, teacher_vocab_size: of a teacher whose tokens are not those of the blocks; None: they are.
        teacher_weights, device: where the recipe wants the teacher's weights, and what computed.
        memory: of the machine that steps run on, in bytes; None: they run on others.
    """

    vocab_size: int
    context: int
    languages: int
    tokens_per_language: int | None
    teacher: PluginSpec
    blocks: Mapping[str, int] = field(default_factory=dict)
    tokenizer: Path | None = None
    expert: PluginSpec | None = None
    cuts_vocabulary: bool = False
    teacher_tokenizer: Path | None = None
    teacher_vocab_size: int | None = None
    teacher_weights: str = "auto"
    device: str = "auto"
    memory: int | None = None

    @property
    def teacher_rows(self) -> int:
        """Tokens of the teacher."""
        return self.teacher_vocab_size or self.vocab_size


class Stage(Section):
    """A stage's fields are exactly what its result depends on, beside its inputs and what lies outside.

    Class attributes:
        version: raised by whoever changes what the stage makes of the same fields and inputs; part of the fingerprint,
            as the code and the libraries are not (see :mod:`orchestrator.provenance`).
        distributed: run by every training worker (SPMD); only rank 0 writes to `out`.
        accelerated: not distributed, and gains from a GPU: it is given one where there are any.
        by_parts: distributed, and trains a model of parts, which strategies may spread over the workers.
    """

    version: ClassVar[int] = 1
    distributed: ClassVar[bool] = False
    accelerated: ClassVar[bool] = False
    by_parts: ClassVar[bool] = False

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """Read the artifacts `inputs` (role -> folder), write this stage's files into the empty folder `out`.

        Raises:
            MomeError: whatever a person can mend.
        """
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """What the stage and its fields are, for fingerprints: JSON-able."""
        return {"stage": type(self).__name__, "version": self.version, "config": identity(self)}

    def external(self) -> Mapping[str, str]:
        """Identity of what the stage reads beside its inputs (sources, pretrained models), as part of its fingerprint.

        Called before every run: cheap, and no network.

        Raises:
            MomeError: something is missing.
        """
        return {}

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:  # noqa: ARG002
        """Expected cost; `inputs` holds None for artifacts that don't exist yet: `expected` says what is known of them.

        Raises:
            MomeError: the configuration can't work.
        """
        return Cost()
