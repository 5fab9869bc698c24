"""Sections on what went in: corpus, tokenizer, recipe, lineage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from orchestrator.reporting.document import Listing, Section
from orchestrator.reporting.figures import Figure, draw, grouped_bars
from orchestrator.reporting.formats import GAP, compact, count, duration, memory, significant
from orchestrator.reporting.run_results import RunResults
from orchestrator.reporting.tables import Cell, Table, table


def corpus(results: RunResults) -> Section:
    """The balanced corpus by language and split (the paper's Table 1 and Figure 1)."""
    counts = results["corpus"]
    train = {language: splits["train"]["tokens"] for language, splits in counts.items()}
    spread = 100 * (1 - min(train.values()) / max(train.values()))
    sentence = (
        f"{len(counts)} languages with {count(sum(train.values()))} training tokens in all; the language with the "
        f"fewest has {spread:.1f}{GAP}% less than the one with the most. Splits are by document."
    )
    tables = [_corpus_table(results)]
    if any(sum(removed.values()) for removed in results["removed"].values()):
        tables.append(_removed_table(results))
    if results.get("filters"):
        tables += [_rules_table(results), _samples_table(results)]
    return Section("corpus", "Corpus", (sentence,), (*tables, splits_figure(results["corpus"])))


def tokenizer(results: RunResults) -> Section:
    """How the tokenizer fits each language."""
    facts = results["tokenizer"]
    rows = [
        (
            language,
            significant(facts["characters_per_token"][language]),
            significant(facts["bytes_per_token"][language]),
        )
        for language in results["languages"]
    ]
    sentence = (
        f"Byte-pair encoding with {count(facts['vocab_size'])} tokens of vocabulary; text is packed into blocks of "
        f"{count(results['blocks']['context'])} tokens, and every token is a target once."
    )
    caption = "Text that a token holds on average (training split)"
    return Section("tokenizer", "Tokenizer", (sentence,), (table(caption, ("language", "characters", "bytes"), rows),))


def recipe(results: RunResults) -> Section:
    """The recipe as it was run."""
    text = yaml.safe_dump(results["recipe"], sort_keys=False, allow_unicode=True, width=100)
    return Section("recipe", "Recipe", (), (Listing("The recipe in full, with its defaults", text),))


def lineage(results: RunResults) -> Section:
    """Where each artifact comes from, what it took, and with which software."""
    rows = [
        (
            step["step"],
            Cell(str(step["fingerprint"])[:12], code=True),
            ", ".join(step["inputs"] or {}) or "–",
            duration(step["seconds"]),
            memory(step["peak_memory_bytes"]),
            str(step["created"] or "–"),
        )
        for step in results["steps"]
    ]
    columns = ("step", "fingerprint", "inputs", "time", "peak memory", "created")
    note = (
        "A fingerprint stands for a step's version, its part of the recipe, its sources and its inputs: equal "
        "fingerprints, equal results. Created: when the step began. Peak memory: of the step's own processes, the "
        "largest of each, summed; processes that only start or watch others are counted in the whole run's."
    )
    steps = table("Steps", columns, rows, words=(1, 2, 5), note=note)
    versions = table("Versions", ("software", "version"), list(results["versions"].items()), words=(1,))
    drift = (f"Drift at the time of this report: {results['drift']}.",) if results["drift"] else ()
    return Section("lineage", "Lineage and versions", drift, (steps, versions))


def _corpus_table(results: RunResults) -> Table:
    rows = [
        (language, split, *(count(entry.get(key)) for key in ("documents", "characters", "tokens", "blocks")))
        for language, splits in results["corpus"].items()
        for split, entry in splits.items()
    ]
    note = "Documents and characters: cleaned and deduplicated. Tokens and blocks: balanced, as the models see them."
    columns = ("language", "split", "documents", "characters", "tokens", "blocks")
    return table("Corpus by language and split", columns, rows, words=(1,), note=note)


def _removed_table(results: RunResults) -> Table:
    reasons = list(dict.fromkeys(reason for removed in results["removed"].values() for reason in removed))
    rows = [(lang, *(count(removed.get(key, 0)) for key in reasons)) for lang, removed in results["removed"].items()]
    return table("Documents removed", ("language", *(reason.replace("_", " ") for reason in reasons)), rows)


def _rules_table(results: RunResults) -> Table:
    """What each filter dropped, and what it took out of documents that stayed."""
    rows = [
        (language, name, rule, count(number) if key == "rules" else "–", count(number) if key == "edits" else "–")
        for language, filters in results["filters"].items()
        for name, did in filters.items()
        for key in ("rules", "edits")
        for rule, number in did[key].items()
    ]
    columns = ("language", "filter", "rule", "documents dropped", "lines taken out")
    return table("What the filters did", columns, rows, words=(1, 2))


def _samples_table(results: RunResults) -> Table:
    rows = [
        (language, f"{name}: {sample['rule']}", sample["id"], sample["text"])
        for language, filters in results["filters"].items()
        for name, did in filters.items()
        for sample in did["samples"]
    ]
    note = "The first characters of some documents of each rule, chosen by a hash of their ids."
    columns = ("language", "rule", "document", "text")
    return table("Samples of what was dropped", columns, rows, words=(1, 2, 3), note=note)


def splits_figure(counts: Mapping[str, Mapping[str, Mapping[str, int]]]) -> Figure:
    """The paper's Figure 1: bars of documents and of tokens from `counts[language][split]`."""
    languages = list(counts)
    splits = list(next(iter(counts.values())))

    def paint(canvas: Any) -> None:
        left, right = canvas.subplots(1, 2)
        for axes, key in ((left, "documents"), (right, "tokens")):
            values = {
                split: [counts[language].get(split, {}).get(key, 0) for language in languages] for split in splits
            }
            grouped_bars(axes, languages, values, key)
        canvas.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=len(splits))

    alt = "Bars: " + "; ".join(
        f"{language} "
        + ", ".join(f"{split} {compact(entry['tokens'])} tokens" for split, entry in counts[language].items())
        for language in languages
    )
    return draw(
        "corpus-splits", "Dataset splits for each language (the paper's Figure 1): documents and tokens.", alt, paint
    )
