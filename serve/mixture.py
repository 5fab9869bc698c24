"""A run's mixture in this process: routes and generates without Ray or HTTP (`mome generate`)."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from serve.files import MixtureFiles
from serve.messages import ALONE, AUTO, SOFT, FinishReason, GenerationRequest, Route, Sampling
from serve.router import PromptRouter
from serve.text import Tokenizer

if TYPE_CHECKING:
    from serve.engine import Engine


@dataclass(frozen=True)
class Generation:
    """A continued prompt and how it came about.

    Attributes:
        text: the continuation, without the prompt.
        expert: who wrote it.
        probabilities: the router's probability of each language; None where the expert was named.
        prompt_tokens, completion_tokens, finish_reason: see :class:`serve.messages.Completion`.
    """

    text: str
    expert: str
    probabilities: Mapping[str, float] | None
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason


class Mixture:
    """Router and experts of a run, each loaded when it is first needed.

    Attributes:
        files: where they are.
        device: "cpu" or "cuda".
        common: experts compute beside the common expert, where there is one.
        options: of each expert's engine. engines: those loaded, by their experts' names.

    Raises:
        ServingError: a precision that there is not.
    """

    def __init__(self, files: MixtureFiles, device: str = "cpu", common: bool = True, precision: str = "fp32") -> None:
        from serve.engine import EngineOptions

        self.files, self.device, self.common = files, device, common
        self.options = EngineOptions(precision=precision)
        self.engines: dict[str, Engine] = {}
        self._loading = threading.Lock()

    @classmethod
    def open(
        cls,
        run: Path,
        device: str = "cpu",
        experts: Sequence[str] | None = None,
        common: bool = True,
        precision: str = "fp32",
    ) -> Mixture:
        """The mixture of a run folder, with some of its experts; None: all.

        Raises:
            ArtifactError: the run is not finished, or an artifact is missing or damaged.
            UnknownModelError: no expert of such a name, or none at all.
        """
        files = MixtureFiles.of(run)
        return cls(files if experts is None else files.only(experts), device, common, precision)

    def generate(self, prompt: str, model: str = AUTO, sampling: Sampling | None = None) -> Generation:
        """Continue a prompt.

        Args:
            prompt: text.
            model: "auto" for the router's choice, "auto:no-common" for it without the common expert, "soft" for all
                experts by their probabilities, or an expert's name.
            sampling: how tokens are chosen; None: the defaults.

        Raises:
            UnknownModelError: no such expert. EmptyPromptError, ContextLengthError: the prompt can't be continued.
            ArtifactError: a model or the router is damaged.
        """
        route = self.router.route([prompt], model)[0] if model in (AUTO, ALONE, SOFT) else Route(model)
        request = GenerationRequest(prompt, sampling or Sampling())
        completion = self.engine(route.expert).generate([route.asked(request)])[0]
        return Generation(
            text=completion.text,
            expert=route.expert,
            probabilities=route.probabilities,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            finish_reason=completion.finish_reason,
        )

    @cached_property
    def router(self) -> PromptRouter:
        """Which expert a prompt goes to."""
        return PromptRouter(self.files.tokenizer, self.files.router, tuple(self.files.experts))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """That all experts share."""
        return Tokenizer(self.files.tokenizer)

    def engine(self, expert: str) -> Engine:
        """Of an expert, or of all together ("soft"); loaded the first time, by one caller for all that ask meanwhile.

        Raises:
            UnknownModelError: no such expert. ArtifactError: its model is damaged.
            RequestError: the experts can't be mixed.
        """
        from serve.engine import Engine

        if expert == SOFT:
            parts = {name: self.engine(name) for name in self.files.experts}
            with self._loading:
                if SOFT not in self.engines:
                    self.engines[SOFT] = Engine.mixed(parts, self.options)
                return self.engines[SOFT]
        folder = self.files.expert(expert)
        with self._loading:
            if expert not in self.engines:
                self.engines[expert] = Engine.load(folder, self.device, self.common, self.options)
            return self.engines[expert]
