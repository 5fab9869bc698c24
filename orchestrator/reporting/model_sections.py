"""Sections on what came out: perplexity, the router, models and their learning curves."""

from __future__ import annotations

from typing import Any

from orchestrator.records import Bounds
from orchestrator.reporting import prompt_section, sentences
from orchestrator.reporting.document import Section
from orchestrator.reporting.figures import Figure, confusion, draw, intervals, legend
from orchestrator.reporting.formats import compact, count, duration, interval, perplexity, share, significant
from orchestrator.reporting.prompt_section import CLASSIFIERS
from orchestrator.reporting.run_results import ByLanguage, RouterFacts, RunResults
from orchestrator.reporting.tables import Cell, Table, low_is_warm, table

Row = list[Cell | str]
Paper = dict[str, Any]
"""The figures in `paper.json`."""
SCORES = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1"}


def perplexities(results: RunResults) -> Section:
    """The expert-by-language matrix, the teacher, and bits per byte."""
    return Section("perplexity", "Perplexity", (), (_matrix(results), _interval_figure(results), _bits(results)))


def beside_paper(results: RunResults, paper: Paper) -> Section:
    """Table 4, and why its two rows can't be compared."""
    said = (sentences.not_comparable(results, paper),)
    return Section("paper", "Perplexity beside the paper's", said, (_table4(results, paper),))


def router(results: RunResults | dict[str, Any], paper: Paper) -> Section:
    """Table 3 and Figure 9, and the prompt router where there is one; of a run, or of what a study has in common."""
    facts = results["router"]
    said = (sentences.router(facts), *prompt_section.sentences(facts, results["recipe"].get("router", {})))
    tables = (_table3(results, paper), _by_length(facts))
    return Section("router", "Router", said, (*tables, _confusion(facts), *prompt_section.blocks(facts)))


def models(results: RunResults) -> Section:
    """Sizes, costs and losses of the teacher and the experts."""
    rows = [
        (
            name if name == "teacher" else f"expert {name}",
            compact(facts["parameters"]),
            count(facts.get("steps")),
            compact(facts.get("tokens")),
            duration(facts.get("seconds")),
            compact(facts.get("tokens_per_second")),
            significant(facts.get("best_validation_loss"), 4),
            count(facts.get("published_step")),
        )
        for name, facts in results["models"].items()
    ]
    columns = ("model", "parameters", "steps", "tokens", "time", "tokens/s", "best loss", "published step")
    note = "Best loss: lowest validation cross-entropy in nats a token; an expert's is of its own language."
    return Section("models", "Models", (), (table("Models and their training", columns, rows, note=note),))


def _matrix(results: RunResults) -> Table:
    ppl, bounds, languages = results["expert_perplexity"], results["expert_perplexity_interval"], results["languages"]
    columns = {lang: [ppl[expert][lang] for expert in languages] for lang in languages}
    heat = {lang: dict(zip(languages, low_is_warm(values), strict=True)) for lang, values in columns.items()}

    def cell(expert: str, lang: str) -> Cell:
        best = ppl[expert][lang] == min(columns[lang])
        return Cell(perplexity(ppl[expert][lang]), interval(bounds[expert][lang]), best, heat[lang][expert])

    def plain(label: str, values: ByLanguage, around: dict[str, Bounds | None]) -> Row:
        return [label, *(Cell(perplexity(values[lang]), interval(around[lang])) for lang in languages)]

    setup = results["setup"]
    routed, routed_around = results["table4_perplexity"][setup], results["table4_perplexity_interval"][setup]
    rows: list[Row] = [[f"expert {expert}", *(cell(expert, lang) for lang in languages)] for expert in languages]
    rows.append(plain("teacher", results["teacher_perplexity"], results["teacher_perplexity_interval"]))
    rows.append(plain("experts, routed", routed, routed_around))
    note = (
        f"On the {results['split']} split, with {share(results['confidence'], 0)} bootstrap intervals over documents "
        "(none where those are too few). "
        "Bold: the best expert of a column; the lower within its column, the stronger the shade."
    )
    return table("Perplexity of each expert on each language", ("model", *languages), rows, note=note)


SETUPS = {
    "ple": ("PLE", "ple"),
    "jeet": ("JEET", "jeet"),
    "moe_ce": ("MoE-CE", "moe_ce_with_common"),
}
"""Setup -> its name, and that of its row of Table 4 in `paper.json`."""


def _bits(results: RunResults) -> Table:
    bits, languages = results["bits_per_byte"], results["languages"]
    labels = {"teacher": "teacher", "own_expert": "own expert", "routed": "experts, routed"}
    rows = [[label, *(significant(bits[key][lang], 4) for lang in languages)] for key, label in labels.items()]
    note = "Of UTF-8 text: unlike perplexity it does not depend on the tokenizer."
    if by_character := results.get("bits_per_character"):
        rows += [
            [f"{label}, per character", *(significant(by_character[key][lang], 4) for lang in languages)]
            for key, label in labels.items()
        ]
        note += (
            " A character of one script takes a byte and one of another three: between languages, compare characters."
        )
    return table("Bits per byte, and per character", ("model", *languages), rows, note=note)


def _table4(results: RunResults, paper: Paper) -> Table:
    setup = results["setup"]
    name, key = SETUPS.get(setup, (setup, setup))
    ours, theirs = results["table4_perplexity"][setup], paper["table4_perplexity"].get(key, {})
    rows = [
        [f"{name}, ours", *(perplexity(ours[lang]) for lang in results["languages"])],
        [f"{name}, the paper's", *(perplexity(theirs.get(lang)) for lang in results["languages"])],
    ]
    note = f"Perplexity through the router. Source of the paper's row: {paper['source']}."
    return table(f"{name}, as in the paper's Table 4", ("set-up", *results["languages"]), rows, note=note)


def _table3(results: RunResults | dict[str, Any], paper: Paper) -> Table:
    used, same_languages = (
        results["router"]["used"],
        set(results["languages"]) == set(paper["table4_perplexity"]["ple"]),
    )
    rows: list[Row] = []
    for name, scores in results["table3_router"].items():
        label, theirs = CLASSIFIERS.get(name, name), paper["table3_router"].get(name)
        rows.append([Cell(f"{label}, ours", strong=name == used), *(f"{scores[key]:.4f}" for key in SCORES)])
        if theirs and same_languages:
            rows.append([f"{label}, the paper's", *(f"{theirs[key]:.4f}" for key in SCORES)])
    note = (
        f"On held-out blocks of {results['blocks']['context']:,} tokens (the paper's: {paper['context_length']:,}). "
        f"Precision, recall and F1 are {results['router']['averaging']} averages. Bold: the classifier in use."
    )
    return table("Router, as in the paper's Table 3", ("classifier", *SCORES.values()), rows, note=note)


def _by_length(facts: RouterFacts) -> Table:
    lengths = list(facts["classifiers"][facts["used"]])
    rows: list[Row] = []
    for name, by_length in facts["classifiers"].items():
        scores = [by_length[length] for length in lengths]
        around = [", ".join(share(bound) for bound in s["accuracy_interval"]) for s in scores]
        cells = [Cell(share(s["accuracy"]), f"[{bounds}]") for s, bounds in zip(scores, around, strict=True)]
        rows.append([Cell(CLASSIFIERS.get(name, name), strong=name == facts["used"]), *cells])
    columns = ("classifier", *("whole block" if length == "full" else f"{length} tokens" for length in lengths))
    note = f"With {share(facts['confidence'], 0)} Wilson intervals; “16 tokens”: the first 16 of each block."
    return table("Accuracy on the beginnings of blocks", columns, rows, note=note)


def _confusion(facts: RouterFacts) -> Figure:
    counts, languages = facts["classifiers"][facts["used"]]["full"]["confusion"], facts["languages"]
    alt = "Confusion matrix: " + "; ".join(
        f"{lang} routed to " + ", ".join(f"{other} {n}" for other, n in zip(languages, row, strict=True) if n)
        for lang, row in zip(languages, counts, strict=True)
    )
    caption = (
        f"Confusion matrix of the router in use, {facts['used']} (the paper's Figure 9): numbers of held-out blocks, "
        "shaded by their share of the row."
    )
    size = 1.4 + 0.7 * len(languages)
    return draw("confusion", caption, alt, lambda canvas: confusion(canvas.subplots(), languages, counts), (size, size))


def _interval_figure(results: RunResults) -> Figure:
    languages, ppl, bounds = results["languages"], results["expert_perplexity"], results["expert_perplexity_interval"]

    def points(values: ByLanguage, around: dict[str, Bounds | None]) -> list[tuple[float, float, float]]:
        found = [(values[lang], around[lang] or (values[lang],) * 2) for lang in languages]
        return [(value, low, high) for value, (low, high) in found]

    series = {f"expert {expert}": points(ppl[expert], bounds[expert]) for expert in languages}
    series["teacher"] = points(results["teacher_perplexity"], results["teacher_perplexity_interval"])

    def paint(canvas: Any) -> None:
        axes = canvas.subplots()
        intervals(axes, languages, series, "perplexity (log scale; lower is better)")
        axes.set_ylabel("text in")
        legend(axes, columns=5)

    caption = (
        f"Perplexity of the experts and the teacher on each language, with {share(results['confidence'], 0)} intervals."
    )
    alt = " ".join([caption, *(f"Expert {e}: {sentences.all_perplexities(ppl[e])}." for e in languages)])
    return draw("perplexity", caption, alt, paint, (7.0, 1.4 + 0.65 * len(languages)))
