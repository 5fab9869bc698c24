"""From losses of blocks to the tables: perplexity, bits per byte, the cost of routing, means over the languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.evaluation.statistics import percentile_interval, resampled_means, share_of_blocks
from orchestrator.records import LanguageMean, Measured, Ratio, Routed, Tables
from orchestrator.works import independent

TEACHER, TRUE_LANGUAGE, ROUTED = "teacher", "true_language", "routed"


@dataclass(frozen=True)
class LanguageLosses:
    """What was measured on one language's n blocks.

    Attributes:
        context: targets of a block.
        losses: summed negative log-likelihood in nats, float64 [n], by model: "teacher", the experts' languages, and
            whatever else was measured.
        routes: int64 [n], the expert that the router chose, as an index into the languages.
        bytes: int64 [n], UTF-8 bytes of the targets.
        works: int64 [n], numbers from 0 of the documents, or larger works, that the blocks are of.
    """

    context: int
    losses: Mapping[str, NDArray[np.float64]]
    routes: NDArray[np.int64]
    bytes: NDArray[np.int64]
    works: NDArray[np.int64]

    @property
    def independent(self) -> float:
        """How many independent works the blocks tell as much as, 0 where there are too few."""
        return independent(self.works)


def summarise(measured: Mapping[str, LanguageLosses], bootstrap: int, confidence: float, seed: int) -> Tables:
    """The evaluation's tables.

    Intervals of perplexities are a bootstrap over works; there are none where there are fewer than three.

    Args:
        measured: by language, one for each expert.
        bootstrap: resamples of the works.
        confidence: coverage of the intervals.
        seed: of the resampling; all models of a language share their resamples.
    """
    languages = tuple(measured)
    systems = (TEACHER, *languages, TRUE_LANGUAGE, ROUTED)
    losses = {language: _with_routing(found, languages, language) for language, found in measured.items()}
    draws = _resample(losses, measured, systems, bootstrap, seed)
    entries = {
        system: {
            lang: _entry(losses[lang][system], draws[system][lang], measured[lang], confidence) for lang in languages
        }
        for system in systems
    }
    routed = {
        lang: _routed(entries[ROUTED][lang], found, languages, lang, confidence) for lang, found in measured.items()
    }
    fewest = min(found.independent for found in measured.values())
    means = {system: _mean(entries[system], draws[system], confidence, fewest) for system in systems}
    costs = {lang: _cost(losses[lang], draws, measured[lang], lang, confidence) for lang in languages}
    return {
        "blocks": {language: len(found.bytes) for language, found in measured.items()},
        "tokens": {language: len(found.bytes) * found.context for language, found in measured.items()},
        "bytes": {language: int(found.bytes.sum()) for language, found in measured.items()},
        "works": {language: len(np.unique(found.works)) for language, found in measured.items()},
        "teacher": entries[TEACHER],
        "experts": {expert: entries[expert] for expert in languages},
        "true_language": entries[TRUE_LANGUAGE],
        "routed": routed,
        "routing_cost": costs,
        "means": {
            "teacher": means[TEACHER],
            "experts": {expert: means[expert] for expert in languages},
            "true_language": means[TRUE_LANGUAGE],
            "routed": means[ROUTED],
        },
    }


def _resample(
    losses: Mapping[str, Mapping[str, NDArray[np.float64]]],
    measured: Mapping[str, LanguageLosses],
    systems: Sequence[str],
    bootstrap: int,
    seed: int,
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Bootstrapped mean losses a token, float64 [bootstrap], by system and language."""
    resampled = {
        language: resampled_means(
            np.stack([found[system] for system in systems], axis=1) / measured[language].context,
            measured[language].works,
            bootstrap,
            [seed, number],
        )
        for number, (language, found) in enumerate(losses.items())
    }
    return {
        system: {language: means[:, column] for language, means in resampled.items()}
        for column, system in enumerate(systems)
    }


def _with_routing(found: LanguageLosses, languages: Sequence[str], language: str) -> dict[str, NDArray[np.float64]]:
    """Losses by model, with the true language and through the router, which both choose among the experts' losses."""
    experts = np.stack([found.losses[expert] for expert in languages])
    chosen = experts[found.routes, np.arange(experts.shape[1])]
    return {**found.losses, TRUE_LANGUAGE: found.losses[language], ROUTED: chosen}


def _entry(
    losses: NDArray[np.float64], draws: NDArray[np.float64], found: LanguageLosses, confidence: float
) -> Measured:
    loss = float(losses.mean() / found.context)
    bits = float(losses.sum() / np.log(2) / max(1, found.bytes.sum()))
    interval = percentile_interval(np.exp(draws), confidence, found.independent)
    return {"loss": loss, "perplexity": float(np.exp(loss)), "interval": interval, "bits_per_byte": bits}


def _routed(
    entry: Measured, found: LanguageLosses, languages: Sequence[str], language: str, confidence: float
) -> Routed:
    counts = dict(zip(languages, np.bincount(found.routes, minlength=len(languages)).tolist(), strict=True))
    interval = share_of_blocks(found.routes == languages.index(language), found.works, confidence)
    right = counts[language] / len(found.routes)
    return {**entry, "accuracy": right, "accuracy_interval": interval, "routes": counts}


def _cost(
    losses: Mapping[str, NDArray[np.float64]],
    draws: Mapping[str, Mapping[str, NDArray[np.float64]]],
    found: LanguageLosses,
    language: str,
    confidence: float,
) -> Ratio:
    """Routed against true language on the same resamples, so that the interval is of the paired difference."""
    difference = float((losses[ROUTED] - losses[TRUE_LANGUAGE]).mean() / found.context)
    resampled = np.exp(draws[ROUTED][language] - draws[TRUE_LANGUAGE][language])
    return {
        "ratio": float(np.exp(difference)),
        "interval": percentile_interval(resampled, confidence, found.independent),
    }


def _mean(
    entries: Mapping[str, Measured], draws: Mapping[str, NDArray[np.float64]], confidence: float, works: float
) -> LanguageMean:
    """Mean over the languages, whose resamples are independent of each other; `works`: of that with the fewest."""
    losses, resampled = np.array([entry["loss"] for entry in entries.values()]), np.stack(list(draws.values()))
    return {
        "loss": float(losses.mean()),
        "bits_per_byte": float(np.mean([entry["bits_per_byte"] for entry in entries.values()])),
        "arithmetic": {
            "perplexity": float(np.exp(losses).mean()),
            "interval": percentile_interval(np.exp(resampled).mean(axis=0), confidence, works),
        },
        "geometric": {
            "perplexity": float(np.exp(losses.mean())),
            "interval": percentile_interval(np.exp(resampled.mean(axis=0)), confidence, works),
        },
    }
