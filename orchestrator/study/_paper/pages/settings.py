"""Uses of a mixture at inference, without any training: which experts may serve, with the common one or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.reporting.effects import BlockLosses, Runs
from orchestrator.study._paper.pages.data import Evaluation, Setup


@dataclass(frozen=True)
class Setting:
    """A row of the paper's Table 5: the router sends a block to the most probable of the routable experts."""

    common: bool
    routable: tuple[str, ...]

    @property
    def label(self) -> str:
        """The routable experts."""
        return ", ".join(self.routable) or "none"


def settings(languages: Sequence[str]) -> tuple[Setting, ...]:
    """The settings of the paper's Table 5, for any languages.

    Routable are all experts, each pair with the last one, and each alone, with the common expert and without; and none,
    which leaves the common expert alone. For the paper's languages in its order these are its 17.
    """
    *others, last = languages
    pairs = [(language, last) for language in others] if len(languages) > 2 else []
    singles = [(language,) for language in languages] if len(languages) > 1 else []
    routable = (tuple(languages), *pairs, *singles)
    return (*(Setting(common, each) for each in routable for common in (True, False)), Setting(True, ()))


def losses(evaluation: Evaluation, setting: Setting) -> BlockLosses:
    """Losses of every language's blocks in a setting."""
    return {language: _routed(evaluation, setting, language) for language in evaluation.languages}


def routed(setup: Setup, *, common: bool = True) -> Runs:
    """As the mixture is served: each block by the expert that the router chooses among all."""
    return _each(setup, lambda found: losses(found, Setting(common, found.languages)))


def in_setting(setup: Setup, setting: Setting) -> Runs:
    """Losses in a setting, by seed."""
    return _each(setup, lambda found: losses(found, setting))


def named(setup: Setup, model: str) -> Runs:
    """One model of the evaluation for all blocks: "average", "soft", "teacher"."""
    return _each(setup, lambda found: {language: found.losses(model, language) for language in found.languages})


def true_language(setup: Setup, *, common: bool = True) -> Runs:
    """Each language by its own expert, as a perfect router would have it."""
    return _each(
        setup, lambda found: {lang: found.losses(_name(found, lang, common), lang) for lang in found.languages}
    )


def without_own(setup: Setup, *, common: bool = True) -> Runs:
    """Each language by the most probable expert but its own, as if that had been taken away."""

    def rest(found: Evaluation, language: str) -> Setting:
        return Setting(common, tuple(other for other in found.languages if other != language))

    return _each(setup, lambda found: {lang: _routed(found, rest(found, lang), lang) for lang in found.languages})


def _each(setup: Setup, use: Callable[[Evaluation], BlockLosses]) -> Runs:
    return {
        seed: {language: found.by_work(language, values) for language, values in use(found).items()}
        for seed, found in setup.evaluations.items()
    }


def _routed(evaluation: Evaluation, setting: Setting, language: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    from orchestrator.models.inference import Inference

    if not setting.routable:
        return evaluation.losses("common", language)
    probabilities_NE = evaluation.tensors[f"probabilities/{language}"]
    chosen_NE = Inference(experts=setting.routable).weights(
        probabilities_NE, evaluation.languages, evaluation.has_common
    )
    names = [_name(evaluation, expert, setting.common) for expert in evaluation.languages]
    losses_NE = np.stack([evaluation.losses(name, language) for name in names], axis=1)
    return (losses_NE * chosen_NE).sum(axis=1)  # type: ignore[no-any-return]


def _name(evaluation: Evaluation, expert: str, common: bool) -> str:
    return f"alone:{expert}" if evaluation.has_common and not common else expert
