"""From losses of blocks to the tables: perplexity, bits per byte, the cost of routing, means over the languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.evaluation.statistics import percentile_interval, resampled_means, share_of_blocks
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


def summarise(measured: Mapping[str, LanguageLosses], bootstrap: int, confidence: float, seed: int) -> dict[str, Any]:
    """The evaluation's tables.

    An entry is {"loss" (nats a token), "perplexity", "interval" (of the perplexity: bootstrap over works; None where
    there are fewer than three), "bits_per_byte"}. A mean over the languages is {"loss", "bits_per_byte", "arithmetic",
    "geometric"}, the last two {"perplexity", "interval"}: the mean of the perplexities (the paper's "All", Table 5),
    and the exponential of the mean loss. The true language's expert is what a perfect router would choose.

    Args:
        measured: by language, one for each expert.
        bootstrap: resamples of the works.
        confidence: coverage of the intervals.
        seed: of the resampling; all models of a language share their resamples.

    Returns:
        {"blocks": {lang: n}, "tokens": {lang: n}, "bytes": {lang: n}, "works": {lang: n},
         "teacher": {lang: entry}, "experts": {expert: {lang: entry}}, "true_language": {lang: entry},
         "routed": {lang: entry with "accuracy", "accuracy_interval" and "routes": {expert: blocks}},
         "routing_cost": {lang: {"ratio" of the routed perplexity to the true language's, "interval"}},
         "means": {"teacher": mean, "experts": {expert: mean}, "true_language": mean, "routed": mean}}
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
    for language, found in measured.items():
        entries[ROUTED][language] |= _routing(found, languages, language, confidence)
    fewest = min(found.independent for found in measured.values())
    means = {system: _mean(entries[system], draws[system], confidence, fewest) for system in systems}
    costs = {lang: _cost(losses[lang], draws, measured[lang], lang, confidence) for lang in languages}
    return _sizes(measured) | _placed(entries, languages) | {"routing_cost": costs, "means": _placed(means, languages)}


def _sizes(measured: Mapping[str, LanguageLosses]) -> dict[str, dict[str, int]]:
    return {
        "blocks": {language: len(found.bytes) for language, found in measured.items()},
        "tokens": {language: len(found.bytes) * found.context for language, found in measured.items()},
        "bytes": {language: int(found.bytes.sum()) for language, found in measured.items()},
        "works": {language: len(np.unique(found.works)) for language, found in measured.items()},
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
) -> dict[str, Any]:
    loss = float(losses.mean() / found.context)
    bits = float(losses.sum() / np.log(2) / max(1, found.bytes.sum()))
    interval = percentile_interval(np.exp(draws), confidence, found.independent)
    return {"loss": loss, "perplexity": float(np.exp(loss)), "interval": interval, "bits_per_byte": bits}


def _routing(found: LanguageLosses, languages: Sequence[str], language: str, confidence: float) -> dict[str, Any]:
    counts = dict(zip(languages, np.bincount(found.routes, minlength=len(languages)).tolist(), strict=True))
    interval = share_of_blocks(found.routes == languages.index(language), found.works, confidence)
    return {"accuracy": counts[language] / len(found.routes), "accuracy_interval": interval, "routes": counts}


def _cost(
    losses: Mapping[str, NDArray[np.float64]],
    draws: Mapping[str, Mapping[str, NDArray[np.float64]]],
    found: LanguageLosses,
    language: str,
    confidence: float,
) -> dict[str, Any]:
    """Routed against true language on the same resamples, so that the interval is of the paired difference."""
    difference = float((losses[ROUTED] - losses[TRUE_LANGUAGE]).mean() / found.context)
    resampled = np.exp(draws[ROUTED][language] - draws[TRUE_LANGUAGE][language])
    return {
        "ratio": float(np.exp(difference)),
        "interval": percentile_interval(resampled, confidence, found.independent),
    }


def _mean(
    entries: Mapping[str, Mapping[str, Any]], draws: Mapping[str, NDArray[np.float64]], confidence: float, works: float
) -> dict[str, Any]:
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


def _placed(by_system: Mapping[str, Any], languages: Sequence[str]) -> dict[str, Any]:
    """The systems at their places in the result."""
    return {
        TEACHER: by_system[TEACHER],
        "experts": {expert: by_system[expert] for expert in languages},
        TRUE_LANGUAGE: by_system[TRUE_LANGUAGE],
        ROUTED: by_system[ROUTED],
    }
