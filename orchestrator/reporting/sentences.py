"""Verdicts in words, computed from the numbers and from their intervals; they say so where a hope did not come true."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.reporting.formats import (
    GAP,
    compact,
    duration,
    listing,
    memory,
    percent,
    perplexity,
    share,
    significant,
)
from orchestrator.reporting.run_results import RunResults

Perplexities = Mapping[str, Mapping[str, float]]
Ratios = Mapping[str, Mapping[str, Any]]
"""Language -> {"ratio" of two perplexities, "interval": [low, high], or None of too few documents}."""


def summary(results: RunResults) -> tuple[str, ...]:
    """What came out of a run, in sentences."""
    found, confidence = results["comparisons"], results["confidence"]
    return (
        specialisation(found["next_best_to_own"], results["languages"], confidence),
        own_text(results["expert_perplexity"], results["languages"]),
        guessing(found["frequencies_to_own"]),
        routing_cost(results["routing_cost"]),
        against_teacher(found["routed_to_teacher"]),
        router(results["router"]),
        effort(results["seconds"], results["peak_memory_bytes"]),
    )


def specialisation(rivals: Ratios, languages: Sequence[str], confidence: float) -> str:
    """On each language's text: is its own expert the best of all, beyond the paired interval?

    Args:
        rivals: language -> the best other expert ("rival") with the ratio of its perplexity to the own expert's.
        languages: all of them.
        confidence: coverage of the intervals.
    """
    if not rivals:
        return f"There is one expert, {languages[0]}, and no other to compare it with."
    lost = [lang for lang in languages if rivals[lang]["ratio"] <= 1]
    if lost:
        cases = [f"on {lang} expert {rivals[lang]['rival']} is at least as good" for lang in lost]
        won = len(languages) - len(lost)
        return f"Only {won} of {len(languages)} experts are the best on their own language: {listing(cases)}."
    closest = min(languages, key=lambda lang: float(rivals[lang]["ratio"]))
    near = rivals[closest]
    bounds = "no interval: too few documents"
    if near["interval"] is not None:
        bounds = f"{share(confidence, 0)} interval {' to '.join(map(significant, near['interval']))}"
    text = (
        f"On the text of every language its own expert has the lowest perplexity of the {len(languages)} experts. The "
        f"closest rival, expert {near['rival']} on {closest}, is higher by a factor of {significant(near['ratio'])} "
        f"({bounds})"
    )
    unclear = [lang for lang in languages if rivals[lang]["interval"] and rivals[lang]["interval"][0] <= 1]
    return text + (f"; on {listing(unclear)} the interval includes no difference." if unclear else ".")


def own_text(ppl: Perplexities, languages: Sequence[str]) -> str:
    """For each expert: is its own language the one it knows best?"""
    best = {expert: min(languages, key=lambda lang: ppl[expert][lang]) for expert in languages}
    odd = [f"expert {expert} is lowest on {best[expert]}" for expert in languages if best[expert] != expert]
    if odd:
        return (
            f"Not every expert has its lowest perplexity on its own language: {listing(odd)}. Languages differ in how "
            "predictable they are."
        )
    return "Each expert has a lower perplexity on its own language than on any other."


def guessing(ratios: Ratios) -> str:
    """Whether experts know more of their language than how often each token occurs.

    Args:
        ratios: language -> the perplexity of guessing by frequencies over the own expert's, with its interval.
    """
    level = [lang for lang, entry in ratios.items() if (entry["interval"] or [entry["ratio"]])[0] <= 1]
    if level:
        cases = listing([f"{lang} (a factor of {significant(ratios[lang]['ratio'])})" for lang in level])
        return (
            f"At the level of guessing: {cases}. Such an expert predicts its language no better, beyond the interval, "
            "than how often each token occurs does: it needs more training, or more text."
        )
    least = min(ratios, key=lambda lang: float(ratios[lang]["ratio"]))
    return (
        f"Every expert predicts its language better than how often each token occurs does, {least} the least: by a "
        f"factor of {significant(ratios[least]['ratio'])} in perplexity."
    )


def routing_cost(cost: Ratios) -> str:
    """What routing costs in perplexity against knowing the true language."""
    if all(_unchanged(entry) for entry in cost.values()):
        return "Routing costs nothing: every block goes to its own language's expert, so perplexities are the same."
    worse = [lang for lang, entry in cost.items() if (entry["interval"] or (1, 1))[0] > 1]
    better = [lang for lang, entry in cost.items() if (entry["interval"] or (1, 1))[1] < 1]
    verdicts = [f"worse on {listing(worse)}"] * bool(worse) + [f"better on {listing(better)}"] * bool(better)
    verdict = f"beyond the interval it is {listing(verdicts)}" if verdicts else "no interval excludes zero"
    cases = listing([f"{lang} {_change(entry)}" for lang, entry in cost.items()])
    return f"Perplexity through the router, against that with the true language: {cases}; {verdict}."


def against_teacher(ratios: Ratios) -> str:
    """The routed experts beside their teacher."""
    mean = math.exp(sum(math.log(entry["ratio"]) for entry in ratios.values()) / len(ratios))
    cases = listing([f"{lang} {_change(entry)}" for lang, entry in ratios.items()])
    word = "lower" if mean < 1 else "higher"
    return (
        f"The routed experts' perplexity is {abs(100 * (mean - 1)):.1f}{GAP}% {word} than the teacher's in the "
        f"geometric mean: {cases}."
    )


def router(facts: Mapping[str, Any]) -> str:
    """How often the router in use is right, on how many sequences."""
    score = facts["classifiers"][facts["used"]]["full"]
    wrong = score["count"] - score["correct"]
    bounds = " to ".join(share(bound) for bound in score["accuracy_interval"])
    return (
        f"The router in use, {facts['used']}, sends {share(score['accuracy'])} of {score['count']:,} held-out blocks "
        f"to the right expert ({share(facts['confidence'], 0)} interval {bounds}); {wrong:,} went wrong."
    )


def effort(seconds: Mapping[str, float], peak: Mapping[str, int | None]) -> str:
    """What it took."""
    steps = {step: value for step, value in seconds.items() if step != "total"}
    longest = max(steps, key=lambda step: steps[step])
    text = (
        f"The steps took {duration(seconds['total'])}, counted one after another though some ran at the same time; the "
        f"longest was {longest} with {duration(steps[longest])}."
    )
    if peak["largest"]:
        text += f" The processes of one step held {memory(peak['largest'])} at most"
        text += f", all processes of the run together {memory(peak['run'])}." if peak["run"] else "."
    return text


def not_comparable(results: RunResults | dict[str, Any], paper: Mapping[str, Any]) -> str:
    """Why the paper's absolute perplexities are no yardstick for ours."""
    expert = results["models"][results["languages"][0]]
    tokens = sum(splits["train"]["tokens"] for splits in results["corpus"].values())
    blocks = results["blocks"]
    return (
        "The paper's perplexities stand here for orientation only, and a lower figure is no win. Perplexity depends on "
        f"the corpus (the paper: {paper['corpus']}), the tokenizer ({paper['vocabulary']:,} tokens of vocabulary; here "
        f"{blocks['vocab_size']:,}), the training text ({compact(paper['training_tokens'])} tokens; here "
        f"{compact(tokens)}), the context ({paper['context_length']:,}; here {blocks['context']:,}) and the experts' "
        f"size ({paper['student']}; here {compact(expert['parameters'])}). The pattern across experts "
        "and languages can be compared."
    )


def difference(value: float, margin: float) -> str:
    """A verdict on a paired difference of losses, lower being better, from its interval `value` ± `margin`."""
    if not math.isfinite(margin):
        return f"{value:+.3f}, without an interval: that takes two seeds or more".replace("-", "−")
    shown = f"{value:+.3f} ± {margin:.3f}".replace("-", "−")
    if abs(value) <= margin:
        return f"no difference seen at this scale: {shown}"
    return f"{'lower' if value < 0 else 'higher'} loss at this scale: {shown}"


def _change(entry: Mapping[str, Any]) -> str:
    """A ratio as a change in percent with its interval."""
    if _unchanged(entry):
        return "unchanged"
    if entry["interval"] is None:
        return f"{percent(entry['ratio'])} (no interval: too few documents)"
    low, high = entry["interval"]
    return f"{percent(entry['ratio'])} [{percent(low)}, {percent(high)}]"


def _unchanged(entry: Mapping[str, Any]) -> bool:
    return entry["ratio"] == 1 and list(entry["interval"] or (1, 1)) == [1, 1]


def all_perplexities(values: Mapping[str, float]) -> str:
    """Perplexities by language in a line, for descriptions of figures."""
    return ", ".join(f"{language} {perplexity(value)}" for language, value in values.items())
