"""Parts of a model that are trained apart: what a step selects, and which rows a worker gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn


@dataclass(frozen=True)
class Parts:
    """How a model falls into parts: experts, and what they share.

    A part that a step does not select is bit-identical after it: weights, optimizer state, its count of steps.

    Attributes:
        part_of: parameter name -> part.
        selected: languages of a step's global batch -> parts that the step trains. More languages select no fewer
            parts; a part that all languages together don't select is frozen.
        keep: drop from a model the experts that are not of these languages.
    """

    part_of: Callable[[str], str]
    selected: Callable[[frozenset[str]], frozenset[str]]
    keep: Callable[[nn.Module, frozenset[str]], None]

    def freeze(self, model: nn.Module, languages: frozenset[str]) -> None:
        """Ask for no gradients of the parts that training on `languages` never selects."""
        trained = self.selected(languages)
        for name, parameter in model.named_parameters():
            if self.part_of(name) not in trained:
                parameter.requires_grad_(False)

    def clear_unselected(self, model: nn.Module, selected: frozenset[str]) -> None:
        """Drop gradients of parts outside `selected`: torch's optimizers pass over parameters without a gradient."""
        for name, parameter in model.named_parameters():
            if self.part_of(name) not in selected:
                parameter.grad = None


@dataclass(frozen=True)
class Share:
    """The rows of a batch that one worker gets: of its languages, every `of`-th from the `index`-th on.

    Attributes:
        index, of: place among the workers that share the same languages.
        languages: those whose rows it gets; None: all.
    """

    index: int = 0
    of: int = 1
    languages: tuple[str, ...] | None = None

    def select(self, rows: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        """Rows int64 [B, 2] of the worker's languages; `names` is what their language indices refer to."""
        if self.languages is None:
            return rows
        mine = [index for index, name in enumerate(names) if name in self.languages]
        return rows[np.isin(rows[:, 0], mine)]
