"""The mixture: experts, perhaps a common expert and shared layers, as the parts of one model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from orchestrator.errors import ModelError
from orchestrator.models.build import hidden_states
from orchestrator.models.heads import head

COMMON, SHARED = "common", "shared"
WHOLE = "mome_whole_vocabulary"
"""Key of the configuration of an expert that has some of a vocabulary's tokens: how many that has."""


class Mixture(nn.Module):
    """Experts by language; :func:`orchestrator.models.inference.routed_logits` serves a batch of any languages.

    With a common expert (paper, MoE-CE) the hidden states of expert and common expert are combined before the head.
    Parameters belong to *parts*: a language's, "common" or "shared"; see :meth:`part_of`.

    Shape legend: B sequences, T tokens, D width.

    Args:
        experts: causal language models by language, of one vocabulary, or of what each has of it.
        common: the common expert; None: there is none.
        combiners: by language, what joins an expert's hidden states [B, T, D] with the common expert's.
        shares: layers that all models have in common, of "embedding" and "head": the first expert's. Where embedding
            and head are tied, sharing one shares both.

    Raises:
        ModelError: no expert; vocabularies differ, or widths where states or layers are shared.
    """

    def __init__(
        self,
        experts: Mapping[str, nn.Module],
        common: nn.Module | None = None,
        combiners: Mapping[str, nn.Module] | None = None,
        shares: Iterable[str] = (),
    ) -> None:
        super().__init__()
        shares = tuple(shares)
        _check(experts, common, one_width=bool(shares) or common is not None)
        models = [*experts.values(), *([common] if common is not None else [])]
        # Registered first, so that shared weights are named after what they are.
        self.shared = nn.ModuleDict(_share(models, shares))
        self.common = common
        self.experts = nn.ModuleDict(experts)
        self.combiners = nn.ModuleDict(combiners or {})

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages of the experts."""
        return tuple(self.experts)

    @staticmethod
    def part_of(name: str) -> str:
        """The part that a parameter belongs to, by its name: a language, "common" or "shared"."""
        room, _, rest = name.partition(".")
        return room if room in (SHARED, COMMON) else rest.partition(".")[0]

    def keep(self, languages: Iterable[str]) -> None:
        """Drop the experts of other languages."""
        for language in set(self.languages).difference(languages):
            del self.experts[language]
            if language in self.combiners:
                del self.combiners[language]

    def branch(self, language: str | None, common: bool = True) -> Branch:
        """What serves a language, as a model of its own.

        Args:
            language: of the expert; None: the common expert alone.
            common: combine with the common expert, where there is one.
        """
        if language is None:
            assert self.common is not None
            return Branch(self.common)
        if not common or self.common is None:
            return Branch(self.experts[language])
        return Branch(self.experts[language], self.common, self.combiners[language])


class Branch:
    """An expert, a common expert and what combines them, for whatever takes a causal language model: it has hidden
    states and a head. A view: the modules belong to the mixture.

    Attributes:
        expert: whose head it is.
        common, combiner: None where the expert is alone.
    """

    def __init__(self, expert: nn.Module, common: nn.Module | None = None, combiner: nn.Module | None = None) -> None:
        self.expert, self.common, self.combiner = expert, common, combiner

    @property
    def config(self) -> Any:
        """The expert's configuration."""
        return self.expert.config

    @property
    def device(self) -> Any:
        """Where it computes."""
        return self.expert.device

    def base_model(self, **arguments: Any) -> SimpleNamespace:
        """The expert's output without head, as transformers has it; `last_hidden_state` is what the head is for."""
        return SimpleNamespace(last_hidden_state=self._hidden(arguments["input_ids"]))

    def modules(self) -> Iterator[nn.Module]:
        """All modules that compute."""
        for part in (self.expert, self.common, self.combiner):
            yield from () if part is None else part.modules()

    def get_output_embeddings(self) -> Any:
        """The head."""
        model: Any = self.expert
        return model.get_output_embeddings()

    def _hidden(self, ids_BT: Tensor) -> Tensor:
        states_BTD = hidden_states(self.expert, ids_BT)
        if self.common is None or self.combiner is None:
            return states_BTD
        combined: Tensor = self.combiner(states_BTD, hidden_states(self.common, ids_BT))
        return combined


def _share(models: Sequence[nn.Module], shares: Iterable[str]) -> dict[str, nn.Module]:
    """Make all models use the first one's layers; the layers by name."""
    wanted, layers = set(shares), dict[str, nn.Module]()
    if not wanted:
        return layers
    first: Any = models[0]
    if _ties(first):
        wanted = {"embedding", "head"}
    if "embedding" in wanted:
        layers["embedding"] = first.get_input_embeddings()
    if "head" in wanted:
        layers["head"] = first.get_output_embeddings()
    for model in models[1:]:
        other: Any = model
        if "embedding" in layers:
            other.set_input_embeddings(layers["embedding"])
        if "head" in layers:
            other.set_output_embeddings(layers["head"])
    return layers


def _ties(model: Any) -> bool:
    """Whether embedding and head are one matrix."""
    return model.get_input_embeddings().weight is model.get_output_embeddings().weight


def _check(experts: Mapping[str, nn.Module], common: nn.Module | None, one_width: bool) -> None:
    if not experts:
        raise ModelError("a mixture needs an expert", "mixture")
    models = {**experts, **({COMMON: common} if common is not None else {})}
    shapes = {name: _shape(model, whole=not one_width) for name, model in models.items()}
    (name, (vocabulary, width)), *others = shapes.items()
    for other, (theirs, their_width) in others:
        if theirs != vocabulary:
            raise ModelError(
                f"the expert {other} knows {theirs} tokens and the expert {name} {vocabulary}: they can't be mixed",
                "mixture",
                "train both with one tokenizer",
            )
        if one_width and (their_width != width or _ties(models[other]) != _ties(models[name])):
            raise ModelError(
                f"the experts {other} ({their_width} wide) and {name} ({width} wide) can't share layers or states",
                "mixture",
                "give all experts one architecture, or use `setup: ple`",
            )


def _shape(model: Any, whole: bool) -> tuple[int, int]:
    """Tokens and width of a head; `whole`: the tokens of the vocabulary that its own was cut from."""
    tokens, width = head(model).weight.shape
    return (getattr(model.config, WHOLE, tokens) if whole else tokens), width
