"""Sections on what came out: models, learning curves, perplexity, the router."""

from __future__ import annotations

from typing import Any

from orchestrator.reporting import sentences
from orchestrator.reporting.document import Section
from orchestrator.reporting.figures import Figure, backdrop, confusion, curves, draw, intervals, legend
from orchestrator.reporting.formats import compact, count, duration, interval, perplexity, share, significant
from orchestrator.reporting.tables import Cell, Table, low_is_warm, table

Results = dict[str, Any]
CLASSIFIERS = {"logistic_regression": "Logistic regression", "sgd": "SGD classifier", "random_forest": "Random forest"}


def models(results: Results) -> Section:
    """Sizes, costs and losses of the teacher and the experts."""
    rows = [
        (
            _model_name(name),
            compact(facts["parameters"]),
            count(facts["steps"]),
            compact(facts["tokens"]),
            duration(facts["seconds"]),
            compact(facts["tokens_per_second"]),
            significant(facts["best_validation_loss"], 4),
            count(facts["published_step"]),
        )
        for name, facts in results["models"].items()
    ]
    columns = ("model", "parameters", "steps", "tokens", "time", "tokens/s", "best validation loss", "step published")
    note = "Validation loss: mean cross-entropy in nats a token, on all languages for the teacher and on its own for an expert."
    return Section("models", "Models", (), (table("Models and their training", columns, rows, note=note),))


def learning(results: Results) -> Section:
    """Learning curves of the teacher and of the experts, and the weights of the two losses."""
    found = results["learning_curves"]
    figures = [f for f in (_teacher_curves(found["teacher"]), _expert_curves(results), _weights(results)) if f]
    text = "Thin lines: training cross-entropy, averaged over neighbouring steps where there are many. Markers: validation loss."
    return Section("learning", "Learning curves", (text,) if figures else ("No step metrics were kept.",), tuple(figures))


def perplexities(results: Results, paper: Results) -> Section:
    """The expert-by-language matrix, the teacher, bits per byte, and Table 4."""
    ppl, languages = results["expert_perplexity"], results["languages"]
    said = (
        sentences.specialisation(ppl, results["expert_perplexity_interval"], languages),
        sentences.routing_cost(results["routing_cost"], results["confidence"]),
    )
    blocks = (_matrix(results), _interval_figure(results), _bits(results), _table4(results, paper))
    return Section("perplexity", "Perplexity", said, (*blocks,))


def comparison(results: Results, paper: Results) -> Section:
    """What may and what may not be compared with the paper."""
    return Section("paper", "Beside the paper", (sentences.not_comparable(results, paper), f"Source: {paper['source']}."))


def router(results: Results, paper: Results) -> Section:
    """Table 3 and Figure 9."""
    facts = results["router"]
    said = (sentences.router(results["table3_router"], facts),)
    figures = [_confusion(facts)] if facts["confusion"].get(facts["used"]) else []
    return Section("router", "Router", said, (_table3(results, paper), *figures))


def _model_name(name: str) -> str:
    return name if name == "teacher" else f"expert {name}"


def _matrix(results: Results) -> Table:
    ppl, bounds, languages = results["expert_perplexity"], results["expert_perplexity_interval"], results["languages"]
    heat = {lang: dict(zip(languages, low_is_warm([ppl[e][lang] for e in languages]), strict=True)) for lang in languages}
    best = {lang: min(languages, key=lambda e: ppl[e][lang]) for lang in languages}
    rows = [
        [f"expert {expert}"]
        + [Cell(perplexity(ppl[expert][lang]), interval(bounds[expert][lang]), best[lang] == expert, heat[lang][expert]) for lang in languages]
        for expert in languages
    ]
    shown = {"teacher": ("teacher_perplexity", "teacher_perplexity_interval"), "experts, routed": ("routed_perplexity", "routed_perplexity_interval")}
    extra = [
        [label, *(Cell(perplexity(results[value][lang]), interval(results[around].get(lang))) for lang in languages)]
        for label, (value, around) in shown.items()
    ]
    note = (
        f"On the {results['split']} split, with {share(results['confidence'], 0)} bootstrap intervals over blocks. Bold: the best expert "
        "of a column; shaded: the lower within its column, the darker."
    )
    return table("Perplexity of each expert on each language", ("model", *languages), [*rows, *extra], note=note)


def _bits(results: Results) -> Table:
    bits, languages = results["bits_per_byte"], results["languages"]
    rows = [
        [label, *(significant(bits[key].get(lang), 4) for lang in languages)]
        for key, label in (("teacher", "teacher"), ("own_expert", "own expert"), ("routed", "experts, routed"))
    ]
    note = "Of UTF-8 text: unlike perplexity it does not depend on the tokenizer."
    return table("Bits per byte", ("model", *languages), rows, note=note)


def _table4(results: Results, paper: Results) -> Table:
    ours, theirs = results["table4_perplexity"]["ple"], paper["table4_perplexity"]["ple"]
    rows = [
        ["PLE, ours", *(perplexity(ours[lang]) for lang in results["languages"])],
        ["PLE, the paper's", *(perplexity(theirs.get(lang)) for lang in results["languages"])],
    ]
    note = "Perplexity through the router. Corpus, tokenizer, context and sizes differ from the paper's: see “Beside the paper”."
    return table("Independent experts (PLE) as in the paper's Table 4", ("set-up", *results["languages"]), rows, note=note)


def _table3(results: Results, paper: Results) -> Table:
    keys = ("accuracy", "precision", "recall", "f1")
    scores, used = results["table3_router"], results["router"]["used"]
    rows: list[list[Cell | str]] = []
    for name, score in scores.items():
        label = CLASSIFIERS.get(name, name)
        rows.append([Cell(f"{label}, ours", strong=name == used), *(f"{score[key]:.4f}" for key in keys)])
        if name in paper["table3_router"] and set(results["languages"]) == set(paper["table4_perplexity"]["ple"]):
            rows.append([f"{label}, the paper's", *(f"{paper['table3_router'][name][key]:.4f}" for key in keys)])
    note = "Bold: the classifier in use. The paper's are shown where the languages are the same; its sequences are 1,024 tokens long."
    return table("Router as in the paper's Table 3", ("classifier", "accuracy", "precision", "recall", "F1"), rows, note=note)


def _confusion(facts: Results) -> Figure:
    counts, languages = facts["confusion"][facts["used"]], facts["languages"]
    alt = "Confusion matrix: " + "; ".join(
        f"{lang} routed to " + ", ".join(f"{other} {n}" for other, n in zip(languages, row, strict=True) if n)
        for lang, row in zip(languages, counts, strict=True)
    )
    caption = f"Confusion matrix of the router in use, {facts['used']} (the paper's Figure 9): sequences; shade: share of the row."
    size = 1.4 + 0.75 * len(languages)
    return draw("confusion", caption, alt, lambda canvas: confusion(canvas.subplots(), languages, counts), (max(6.0, size), max(3.2, size)))


def _interval_figure(results: Results) -> Figure:
    languages, bounds = results["languages"], results["expert_perplexity_interval"]

    def points(value: Results, around: Results) -> list[tuple[float, float, float] | None]:
        return [(value[lang], *around[lang]) if around.get(lang) else None for lang in languages]

    series = {f"expert {e}": points(results["expert_perplexity"][e], bounds[e]) for e in languages}
    series["teacher"] = points(results["teacher_perplexity"], results["teacher_perplexity_interval"])

    def paint(canvas: Any) -> None:
        axes = canvas.subplots()
        intervals(axes, languages, series, "perplexity (log scale; lower is better)")
        axes.set_ylabel("text in")
        legend(axes, columns=5)

    caption = f"Perplexity of the experts and the teacher on each language, with {share(results['confidence'], 0)} intervals."
    return draw("perplexity", caption, caption, paint, (7.0, 1.4 + 0.65 * len(languages)))


def _teacher_curves(found: Results) -> Figure | None:
    lines = found["validation_by_language"] or {"validation": found["validation"]}
    if not found["train"] and not any(lines.values()):
        return None

    def paint(canvas: Any) -> None:
        axes = canvas.subplots()
        axes.plot(*zip(*found["train"], strict=True), color="#57606a", linewidth=0.9, alpha=0.6, label="training") if found["train"] else None
        curves(axes, {key: line for key, line in lines.items() if line}, "cross-entropy, nats a token")
        legend(axes, columns=5)

    caption = "Teacher: training loss and validation loss by language."
    return draw("learning-teacher", caption, _describe(caption, {"validation": found["validation"]}), paint)


def _expert_curves(results: Results) -> Figure | None:
    found = {lang: results["learning_curves"][lang] for lang in results["languages"]}
    own = {f"expert {lang}": c["validation_by_language"].get(lang) or c["validation"] for lang, c in found.items()}
    if not any(own.values()):
        return None

    def paint(canvas: Any) -> None:
        axes = canvas.subplots()
        backdrop(axes, [c["train"] for c in found.values()])
        curves(axes, own, "cross-entropy, nats a token")
        legend(axes, columns=4)

    caption = "Experts: training cross-entropy and validation loss, each on its own language."
    return draw("learning-experts", caption, _describe(caption, own), paint)


def _weights(results: Results) -> Figure | None:
    found = {lang: results["learning_curves"][lang] for lang in results["languages"]}
    if not any(c["alpha"] for c in found.values()):
        return None

    def paint(canvas: Any) -> None:
        left, right = canvas.subplots(1, 2, sharey=True)
        for axes, key, title in ((left, "alpha", "alpha (cross-entropy)"), (right, "beta", "beta (distillation)")):
            backdrop(axes, [c[key] for c in found.values()])
            axes.set(title=title, xlabel="optimizer step", ylim=(-0.03, 1.03))

    caption = "Weights of the two losses at each step; one line for each expert, in the colours of the figure above."
    return draw("loss-weights", caption, caption, paint, (7.0, 2.4))


def _describe(caption: str, lines: dict[str, Any]) -> str:
    ends = [f"{label} from {line[0][1]:.2f} to {line[-1][1]:.2f}" for label, line in lines.items() if line]
    return f"{caption} {'; '.join(ends)}."
