"""Verdicts in words, computed from the numbers and from their intervals; they say so where a hope did not come true."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.reporting.formats import duration, interval, listing, memory, percent, perplexity, share, significant

Perplexities = Mapping[str, Mapping[str, float]]
Interval = Sequence[float]


def summary(results: Mapping[str, Any]) -> tuple[str, ...]:
    """What came out of a run, in sentences."""
    return (
        specialisation(results["expert_perplexity"], results["expert_perplexity_interval"], results["languages"]),
        own_text(results["expert_perplexity"], results["languages"]),
        routing_cost(results["routing_cost"], results["confidence"]),
        against_teacher(results["table4_perplexity"]["ple"], results["teacher_perplexity"]),
        router(results["table3_router"], results["router"]),
        effort(results["seconds"], results["peak_memory_bytes"]),
    )


def specialisation(ppl: Perplexities, bounds: Mapping[str, Mapping[str, Interval]], languages: Sequence[str]) -> str:
    """On each language's text: is its own expert the best of all, and do the intervals of the two best overlap?"""
    if len(languages) < 2:
        return f"There is one expert, with a perplexity of {perplexity(ppl[languages[0]][languages[0]])} on its language."
    rivals = {lang: min((e for e in languages if e != lang), key=lambda e: ppl[e][lang]) for lang in languages}
    lost = [lang for lang in languages if ppl[lang][lang] >= ppl[rivals[lang]][lang]]
    if lost:
        cases = [f"{lang} (expert {rivals[lang]} {perplexity(ppl[rivals[lang]][lang])}, its own {perplexity(ppl[lang][lang])})" for lang in lost]
        won = len(languages) - len(lost)
        return f"Not every expert is the best on its own language: {won} of {len(languages)} are, but not on {listing(cases)}."
    factors = {lang: ppl[rivals[lang]][lang] / ppl[lang][lang] for lang in languages}
    close = min(factors, key=lambda lang: factors[lang])
    text = (
        f"On the text of every language its own expert has the lowest perplexity of the {len(languages)} experts; the next best "
        f"is higher by a factor of at least {significant(factors[close])} (expert {rivals[close]} on {close})"
    )
    unclear = [lang for lang in languages if bounds[lang][lang][1] >= bounds[rivals[lang]][lang][0]]
    return text + (f", but the intervals overlap on {listing(unclear)}." if unclear else ", and no interval overlaps.")


def own_text(ppl: Perplexities, languages: Sequence[str]) -> str:
    """For each expert: is its own language the one it knows best?"""
    best = {expert: min(languages, key=lambda lang: ppl[expert][lang]) for expert in languages}
    odd = [f"expert {expert} is lowest on {best[expert]}" for expert in languages if best[expert] != expert]
    if odd:
        return f"Not every expert has its lowest perplexity on its own language: {listing(odd)}; languages differ in how predictable they are."
    return "Each expert also has a lower perplexity on its own language than on any other."


def routing_cost(cost: Mapping[str, Mapping[str, Any]], confidence: float) -> str:
    """What routing costs in perplexity against knowing the true language.

    Args:
        cost: language -> "ratio" of the routed perplexity to that with the true language, and its "interval".
        confidence: coverage of the intervals.
    """
    if all(entry["ratio"] == 1.0 for entry in cost.values()):
        return "Routing costs nothing here: every sequence went to the expert of its true language, so the perplexities are the same."
    cases = [f"{lang} {percent(entry['ratio'])}{_percent_bounds(entry.get('interval'))}" for lang, entry in cost.items()]
    worse = [lang for lang, entry in cost.items() if entry.get("interval") and entry["interval"][0] > 1]
    verdict = f"; above zero beyond the interval on {listing(worse)}" if worse else "; no interval excludes zero on the side of a cost"
    return (
        "Routed by the router instead of by the true language, perplexity changes by "
        f"{listing(cases)} ({share(confidence, 0)} intervals){verdict}."
    )


def against_teacher(routed: Mapping[str, float], teacher: Mapping[str, float]) -> str:
    """The routed experts beside their teacher."""
    cases = [f"{lang} {percent(routed[lang] / teacher[lang])}" for lang in routed]
    mean = math.exp(sum(math.log(routed[lang] / teacher[lang]) for lang in routed) / len(routed))
    word = "below" if mean < 1 else "above"
    return (
        f"The routed experts' perplexity is {word} the teacher's by {abs(100 * (mean - 1)):.1f} % in the geometric mean "
        f"({listing(cases)})."
    )


def router(scores: Mapping[str, Mapping[str, float]], facts: Mapping[str, Any]) -> str:
    """How often the router in use is right, on how many sequences."""
    used = facts["used"]
    counts = facts["confusion"].get(used)
    if not counts:
        return f"The router in use ({used}) sends {share(scores[used]['accuracy'])} of the sequences to the right expert."
    total = sum(sum(row) for row in counts)
    wrong = total - sum(row[index] for index, row in enumerate(counts))
    return f"The router in use ({used}) sends {share(scores[used]['accuracy'])} of {total:,} held-out sequences to the right expert ({wrong:,} wrong)."


def effort(seconds: Mapping[str, float], peak: Mapping[str, int]) -> str:
    """What it took."""
    steps = {step: value for step, value in seconds.items() if step != "total"}
    longest = max(steps, key=lambda step: steps[step])
    text = (
        f"All steps together took {duration(seconds['total'])}, summed as if they had run one after another; "
        f"the longest was {longest} with {duration(steps[longest])}"
    )
    return text + (f"; the largest process of a step held {memory(peak['largest'])}." if peak["largest"] else ".")


def not_comparable(results: Mapping[str, Any], paper: Mapping[str, Any]) -> str:
    """Why the paper's absolute perplexities are no yardstick for ours."""
    expert = results["models"][results["languages"][0]]
    tokens = sum(splits["train"]["tokens"] for splits in results["corpus"].values())
    return (
        "The paper's perplexities stand here for orientation only, and a lower figure is no win: the corpus "
        f"({paper['corpus']}), the tokenizer ({paper['vocabulary']:,} tokens of vocabulary, here {results['blocks']['vocab_size']:,}), "
        f"the training text ({paper['training_tokens']:,} tokens, here {tokens:,}), the context ({paper['context_length']:,}, here "
        f"{results['blocks']['context']:,}) and the models' size ({paper['student']}; here {expert['parameters']:,}) all change "
        "perplexity. The pattern across experts can be compared; bits per byte can be where the text is the same."
    )


def difference(value: float, margin: float, confidence: float = 0.95) -> str:
    """A verdict on a paired difference of losses, lower being better, from its interval `value` ± `margin`."""
    shown = f"{value:+.3f} ± {margin:.3f}".replace("-", "−")
    if not math.isfinite(margin):
        return f"{value:+.3f}, without an interval: that takes two seeds or more".replace("-", "−")
    if abs(value) <= margin:
        return f"no difference seen at this scale: {shown}"
    return f"{'lower' if value < 0 else 'higher'} loss at this scale: {shown} ({share(confidence, 0)} interval)"


def _percent_bounds(bounds: Interval | None) -> str:
    return "" if bounds is None else f" [{percent(bounds[0])}, {percent(bounds[1])}]"


def bounded(value: float, bounds: Interval | None) -> str:
    """A perplexity with its interval: 105.2 [101.0, 110.3]."""
    return f"{perplexity(value)} {interval(bounds)}".strip()
