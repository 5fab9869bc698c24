"""What the pages of a study are made of: losses of blocks by seed, sessions of training, trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.reporting.comparison import Trial
from orchestrator.reporting.effects import Runs
from orchestrator.reporting.model_sections import SETUPS
from orchestrator.works import by_work

Json = dict[str, Any]


@dataclass(frozen=True)
class Session:
    """One training.

    Attributes:
        learned: languages trained on.
        facts: of `training.json`.
        curves: language -> (tokens, validation loss in nats a token) in order.
    """

    learned: tuple[str, ...]
    facts: Json
    curves: Mapping[str, Sequence[tuple[float, float]]]

    @property
    def tokens(self) -> int:
        """Tokens trained on."""
        return int(self.facts["tokens"])


@dataclass(frozen=True)
class Evaluation:
    """A mixture's losses under all its uses.

    Attributes:
        languages: the experts', as the columns of the router's probabilities.
        tensors: see :class:`orchestrator.stages.evaluation.EvaluationStage`.
        context: tokens of a block.
    """

    languages: tuple[str, ...]
    tensors: Mapping[str, NDArray[Any]]
    context: int

    def losses(self, model: str, language: str) -> NDArray[np.float64]:
        """Nats a token of a language's blocks, float64 [n], by a model's name in the tensors."""
        return np.asarray(self.tensors[f"loss/{model}/{language}"], np.float64) / self.context

    def by_work(self, language: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Losses of a language's blocks as a value for each work."""
        return by_work(values, self.tensors[f"works/{language}"])

    @property
    def has_common(self) -> bool:
        """Whether there is a common expert."""
        return f"loss/common/{self.languages[0]}" in self.tensors


@dataclass(frozen=True)
class Setup:
    """A mixture of the study.

    Attributes:
        name: in the study.
        type: of its setup.
        evaluations: by seed.
        trainings: seed -> trainings of its experts: one for each language, or one of all together.
        joint: whether they were trained together, and share layers.
    """

    name: str
    type: str
    evaluations: Mapping[int, Evaluation]
    trainings: Mapping[int, Sequence[Session]]
    joint: bool = False

    @property
    def label(self) -> str:
        """For people: PLE, JEET, MoE-CE; with the study's name where that is another."""
        known = SETUPS.get(self.type, (self.type, ""))[0]
        return known if self.name == self.type else f"{known} ({self.name})"

    @property
    def has_common(self) -> bool:
        """Whether there is a common expert."""
        return all(evaluation.has_common for evaluation in self.evaluations.values())


@dataclass(frozen=True)
class Baseline:
    """A student that mixtures are compared with: losses and training by seed."""

    name: str
    losses: Runs
    trainings: Mapping[int, Session]


@dataclass(frozen=True)
class Findings:
    """Everything that a study has trained and measured.

    Attributes:
        main: the numbers of the main line's report.
        recipe: as plain data.
        seeds: in order.
        chains: kind of session of the study of forgetting -> seed -> sessions, each going on from the one before.
        trials: sweep -> its trials.
        seconds: of all artifacts here, one after the other.
    """

    main: Json
    recipe: Json
    seeds: tuple[int, ...]
    setups: Mapping[str, Setup]
    baselines: Mapping[str, Baseline]
    chains: Mapping[str, Mapping[int, Sequence[Session]]]
    trials: Mapping[str, Sequence[Trial]]
    seconds: float

    @property
    def languages(self) -> tuple[str, ...]:
        """Those of the experts."""
        return tuple(self.main["languages"])

    @property
    def confidence(self) -> float:
        """Coverage of the intervals."""
        return float(self.main["confidence"])

    @property
    def over(self) -> str:
        """What most intervals are over."""
        return "seeds" if len(self.seeds) > 1 else "documents (one seed)"

    def first(self, setup_type: str) -> Setup | None:
        """The first setup of a type."""
        return next((setup for setup in self.setups.values() if setup.type == setup_type), None)
