"""What the HTTP interface needs of whatever computes the answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from prometheus_client.core import Metric

from serve.chat import ChatTemplate
from serve.messages import Completion, Delta, Explanation, GenerationRequest, Route, Statistics

Grown = list[tuple[int, Delta]]
"""What answers have grown by, each with the place of its request."""


class Backend(Protocol):
    """What answers requests.

    Attributes:
        experts: names of the experts, as they are now.
        special: model names beside them: "auto", and what else this mixture can do.
        version: of the mixture that they are of.
        started: Unix time at which serving began.
        deadline_s: longest time for an answer, in seconds.
        context: longest prompt and answer together, in tokens.
        chat: how conversations are written for the models.
    """

    experts: Sequence[str]
    special: Sequence[str]
    version: str
    started: int
    deadline_s: float
    context: int
    chat: ChatTemplate

    @property
    def full(self) -> bool:
        """Whether no expert takes requests now: those for answers are refused unread, which costs least."""

    async def route(self, model: str, prompts: Sequence[str]) -> list[Route]:
        """The expert of each prompt: `model` itself, or what the router says where it is no expert's name.

        Raises:
            RequestError: no such model, or a prompt is refused.
        """

    async def explain(self, texts: Sequence[str]) -> list[Explanation]:
        """What the router says of each text; none is refused."""

    async def generate(self, expert: str, requests: Sequence[GenerationRequest], seconds: float) -> list[Completion]:
        """Continue prompts with one expert within `seconds`.

        Raises:
            RequestError: the prompts can't be continued, or not now.
        """

    def stream(self, expert: str, requests: Sequence[GenerationRequest], seconds: float) -> AsyncIterator[Grown]:
        """The same as it grows. Whoever closes the iterator gives the answers up.

        Raises:
            RequestError: the prompts can't be continued, or not to the end.
        """

    async def tokenize(self, text: str, special: bool = False, begin: bool = False) -> list[int]:
        """Ids of a text: see :meth:`serve.text.Tokenizer.encode`."""

    async def detokenize(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """The text of each sequence of ids.

        Raises:
            RequestError: one is not of the vocabulary.
        """

    async def ready(self) -> bool:
        """Whether every part that answers is there."""

    async def counted_elsewhere(self) -> Sequence[Sequence[Metric]]:
        """What other servers before the same experts have counted: whoever reads metrics is answered by any of them."""

    async def statistics(self) -> Mapping[str, Sequence[Statistics]]:
        """Of each expert's engines."""
