"""Whether an expert in another tool is the expert that it is here: the same tokens of texts, the same continuations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol

import torch

from orchestrator.errors import ModelError
from orchestrator.exports._combined import open_expert
from orchestrator.exports._texts import prompts_of, texts_of

if TYPE_CHECKING:
    from orchestrator.exports._source import Expert

PROMPTS = 20
"""A prompt for as many texts."""
TOKENS = 32
"""Continuations are as long, or a quarter of the context."""


class Opened(Protocol):
    """An exported expert in the tool that it was exported for.

    Attributes:
        version: of the tool.
    """

    version: str

    def encode(self, text: str) -> list[int]:
        """Token ids of a text to be continued, the begin token first; special tokens in the text are text."""

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """The most probable `count` tokens after `ids`, each after the ones before; fewer where the end token comes,
        which is left out.
        """


class Ours:
    """An expert as MoME serves it, in fp32 on the CPU."""

    def __init__(self, expert: Expert) -> None:
        self._model: Any = open_expert(expert.folder, common=expert.source.common)
        self._tokens, self.ends = expert.vocabulary, expert.tokenizer.ends
        self.context = int(self._model.config.max_position_embeddings)

    @torch.inference_mode()
    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """See :class:`Opened`."""
        cache, found, inputs = None, list[int](), list(ids)
        while len(found) < count:
            output = self._step(inputs, len(ids) + len(found) - len(inputs), cache)
            cache, token = output.past_key_values, int(output.logits[0, -1, : self._tokens].argmax())
            if token in self.ends:
                break
            found.append(token)
            inputs = [token]
        return found

    @torch.inference_mode()
    def lead(self, ids: Sequence[int], token: int | None) -> float:
        """Nats by which the most probable token after `ids` is ahead of `token`; None: of the likeliest end token.

        Infinite where there is no such token.
        """
        logits_V = self._step(list(ids), 0, None).logits[0, -1, : self._tokens].double()
        others = [each for each in (self.ends if token is None else [token]) if 0 <= each < self._tokens]
        return float(logits_V.max() - logits_V[others].max()) if others else float("inf")

    def _step(self, ids: list[int], past: int, cache: Any) -> Any:
        positions = torch.arange(past, past + len(ids))[None]
        return self._model(
            input_ids=torch.tensor([ids]),
            position_ids=positions,
            attention_mask=torch.ones(1, past + len(ids), dtype=torch.int64),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )


def compare(expert: Expert, opened: Opened, tool: str, count: int, tie: float) -> Mapping[str, Any]:
    """Compare token ids of texts and greedy continuations of prompts, from the run's test text and hard cases.

    Args:
        expert: as it is here.
        opened: as it is in the tool.
        tool: its name.
        count: texts; there is a prompt for every twentieth, and at least one.
        tie: nats between two tokens below which either may be chosen.

    Returns:
        "tool" with its version, "texts" and "prompts" compared, "ties": continuations that part at a tie,
        "largest_tie" in nats.

    Raises:
        ModelError: a text has other tokens, or a continuation parts from ours elsewhere than at a tie.
    """
    texts = texts_of(expert.source, count)
    for text in texts:
        same_tokens(expert.tokenizer.encode_prompt(text), opened.encode(text), text, tool)
    ours = Ours(expert)
    ties = []
    prompts = [ids[: ours.context // 2] for ids in prompts_of(expert, max(1, count // PROMPTS))]
    for ids in prompts:
        length = min(TOKENS, ours.context // 4)
        mine, other = ours.greedy(ids, length), opened.greedy(ids, length)
        if mine != other:
            ties.append(_parting(ours, [*ids], mine, other, tool, tie))
    found = {"tool": f"{tool} {opened.version}", "texts": len(texts), "prompts": len(prompts), "ties": len(ties)}
    return found | ({"largest_tie": round(max(ties), 6)} if ties else {})


def same_tokens(ours: Sequence[int], theirs: Sequence[int], text: str, tool: str) -> None:
    """Make sure that a text has the same tokens.

    Raises:
        ModelError: it has not.
    """
    if list(ours) != list(theirs):
        place = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), 0)
        parts = f"from token {place} on {list(theirs[place : place + 6])} instead of {list(ours[place : place + 6])}"
        raise ModelError(f"{tool} reads {text[:40]!r} as other tokens: {parts}", "mome export --check", _FIX)


def _parting(ours: Ours, ids: list[int], mine: list[int], other: list[int], tool: str, tie: float) -> float:
    """How far apart, in nats, two tokens are where continuations part; one that ends has an end token next.

    Raises:
        ModelError: further than a tie.
    """
    pairs = zip_longest(mine, other)
    place, (_, token) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
    lead = ours.lead(ids + mine[:place], token)
    if lead > tie:
        told = "an end token" if token is None else token
        what = f"{tool} continues a prompt otherwise: token {place} is {told}, {lead:.3g} nats behind the one here"
        raise ModelError(what, "mome export --check", _FIX)
    return lead


_FIX = "don't use what was exported: nothing was written. Take another format, or another version of the tool"
