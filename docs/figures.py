"""Tables of figures in README.md and the pages, and plots, of committed results: `python docs/figures.py [--check]`.

A page holds a table between `<!-- figures: NAME -->` and `<!-- /figures -->`. NAME is one of :data:`TABLES`.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import benches
import served

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs/results"
PLACE = re.compile(r"<!-- figures: ([\w-]+) -->\n.*?<!-- /figures -->", re.DOTALL)
CLASSIFIERS = {
    "logistic_regression": "logistic regression",
    "sgd": "sgd",
    "random_forest": "random forest",
    "prompt": "prompt",
}
STUDY = {
    "ple": "PLE",
    "jeet": "JEET",
    "moe_ce_with_common": "MoE-CE",
    "moe_ce_without_common": "MoE-CE without its common expert",
    "dense": "one dense student of an expert's size",
    "dense-total": "one of about the mixture's size",
    "token-routed": "Mixtral-style token routing, from scratch",
    "branch-train-mix": "Branch-Train-MiX, a tenth of the tokens on top",
    "merged": "averaged weights",
}
BENCH_ROWS = {
    ("eltec", "eltec"): "novels → novels of other authors",
    ("eltec", "miniwiki"): "novels → the embedded encyclopedia",
    ("miniwiki", "eltec"): "the embedded encyclopedia → novels",
}
LANGUAGES_LENGTHS = ("1 word", "2 words", "20 characters", "a message of at most 10 characters")
BENCH_LENGTHS = ("1 word", "2 words", "20 characters", "50 characters")


def results(name: str) -> Any:
    """A committed result by its path below docs/results."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def table(heading: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; all columns but the first `left` are numbers."""
    align = ["---" if index < left else "---:" for index in range(len(heading))]
    lines = [f"| {' | '.join(heading)} |", f"|{'|'.join(align)}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def perplexities(name: str) -> str:
    """Each expert, and the teacher, on each language."""
    found = results(f"{name}/results.json")
    languages = found["languages"]
    models = {f"expert {language}": found["expert_perplexity"][language] for language in languages}
    models["teacher"] = found["teacher_perplexity"]
    rows = [[model, *(f"{of[language]:,.0f}" for language in languages)] for model, of in models.items()]
    return table(["model", *languages], rows)


def classifiers() -> str:
    """The quickstart's classifiers on whole blocks."""
    found = results("quickstart/results.json")
    used = found["router"]["used"]
    keys = ("accuracy", "precision", "recall", "f1")
    rows = [
        [
            name + (" (in use)" if key == used else ""),
            *(f"{found['table3_router'][key][metric]:.4f}" for metric in keys),
        ]
        for key, name in CLASSIFIERS.items()
    ]
    return table(["router", "accuracy", "precision", "recall", "F1"], rows)


def lengths() -> str:
    """Accuracy of the quickstart's classifiers by the length of the text."""
    found = results("quickstart/results.json")["router"]["prompt"]
    buckets = list(found["buckets"])[:5]
    of = {"prompt": found["buckets"]} | {
        f"{CLASSIFIERS[key]}, the paper's": values for key, values in found["classifiers"].items()
    }
    rows = [[name, *(percent(values[bucket]["accuracy"], 1) for bucket in buckets)] for name, values in of.items()]
    return table(["router", *buckets], rows)


def serving(folder: str, make: Callable[[served.Rows], served.Table]) -> str:
    """A table of all results of a folder."""
    rows = served.rows_of(json.loads(file.read_text("utf-8")) for file in sorted((RESULTS / folder).glob("*.json")))
    heading, lines = make(rows)
    return table(heading, lines) if lines else "Not measured yet."


def languages() -> str:
    """Near-duplicates found in each language, and the prompt router's error and refusals beside public identifiers'."""
    rows = {}
    for row in results("languages/bench.json")["rows"]:
        rows[row["case"].partition(" (")[0], row["metric"]] = row
    names = [case.partition(":")[0] for case, metric in rows if metric == "found"]
    table_rows = []
    for name in [*names, "all"]:
        twins = rows.get((f"{name}: near-duplicates of 120", "found"))
        cells = [f"{twins['ours']:.0f}" if twins else ""]
        for length in LANGUAGES_LENGTHS:
            row, refused = rows[f"{name}, {length}", "error"], rows.get((f"{name}, {length}", "rejected"))
            cell = f"{100 * row['ours']:.1f} / {100 * row['baseline']:.1f}"
            cells.append(f"{cell} ({100 * refused['ours']:.0f})" if refused else cell)
        table_rows.append([name, *cells])
    return table(["language", "twins found of 120", *LANGUAGES_LENGTHS], table_rows)


def router_bench() -> str:
    """The prompt router's error beside the best public identifier's."""
    errors = {}
    for row in results("router/bench.json")["rows"]:
        if row["metric"] == "error" and (
            case := re.fullmatch(r"(\w+) → (\w+), ([\w ]+) \(beside .*pieces\)", row["case"])
        ):
            errors[case[1], case[2], case[3]] = (row["ours"], row["baseline"])
    rows = [[title, *(pair(errors[*key, length]) for length in BENCH_LENGTHS)] for key, title in BENCH_ROWS.items()]
    return table(["trained on → tested on", *BENCH_LENGTHS], rows)


def study() -> str:
    """Setups and baselines on the same tokens."""
    found = results("study/results.json")["baselines"]
    rows = []
    for key, name in STUDY.items():
        model = found[key]
        less = "" if model["difference"] is None else signed(model["difference"]["value"])
        size = [f"{model[which] / 1e6:.2f}M" for which in ("parameters", "active_parameters")]
        rows.append([name, f"{model['loss']:.3f}", less, *size])
    return table(["model", "loss", "less PLE", "parameters", "active"], rows)


def verdicts() -> str:
    """How many of the study's claims hold."""
    claims = results("study/results.json")["claims"]
    kinds = {"holds": "hold", "does not hold": "do not hold", "open": "are open"}
    counts = [f"{sum(claim['verdict'] == key for claim in claims)} {name}" for key, name in kinds.items()]
    return f"Of the study's {len(claims)} claims, {counts[0]}, {counts[1]} and {counts[2]}."


def speed() -> str:
    """Every bench beside its baseline."""
    rows = []
    for row in results("speed/bench.json")["rows"]:
        case = row["case"] if row["case"].startswith("…") else f"`{row['bench']}`: {row['case']}"
        rows.append(
            [
                case,
                amount(row["ours"], row["unit"]),
                amount(row["baseline"], row["unit"]),
                f"{row['ratio']:.3g}" if row["ratio"] >= 10 else f"{row['ratio']:.2f}",
            ]
        )
    return table(["what", "ours", "baseline", "ratio"], rows)


def amount(value: float, unit: str) -> str:
    """A figure with its unit: 7,563 tokens/s, 0.73M tokens/s, 4.2 s."""
    if value >= 100_000:
        return f"{value / 1e6:.3g}M {unit}"
    return f"{value:,} {unit}"


def percent(share: float, digits: int) -> str:
    """A share of 1 in per cent."""
    return f"{100 * share:.{digits}f} %"


def pair(errors: tuple[float, float]) -> str:
    """Two errors in per cent; two digits where they are below one per cent."""
    ours, theirs = (f"{100 * error:.{1 if error >= 0.01 else 2}f}" for error in errors)
    return f"{ours} / {theirs} %"


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.3f}".replace("-", "−")


def consumers() -> str:
    """Versions of other tools, and whether they read and continue an exported expert as MoME does."""
    rows = []
    for row in results("consumers/consumers.json")["rows"]:
        ties = row.get("ties")
        most = f" (at most {row['largest_tie']:.2g} nats)" if ties else ""
        compared = f"{row['texts']:,} texts, {row['prompts']} prompts, {ties} ties{most}" if ties is not None else ""
        if "apart" in row:
            compared = f"bits per byte {row['apart']:.0e} apart"
        said = row.get("differs") or row.get("fails")
        rows.append([row["format"], row["type"] or "", f"{row['package']} {row['version']}", compared or str(said)])
    return table(["format", "stored as", "opened by", "the same as MoME"], rows, left=4)


TABLES: dict[str, Callable[[], str]] = {
    "quickstart": lambda: perplexities("quickstart"),
    "quickstart-router": classifiers,
    "router-lengths": lengths,
    "router-bench": router_bench,
    "languages": languages,
    "engine": lambda: serving("engine", lambda rows: served.engine(rows, "3 × 768")),
    "engine-quickstart": lambda: serving("engine", lambda rows: served.engine(rows, "quickstart")),
    "endpoint": lambda: serving("endpoint", lambda rows: served.clients(rows, "quickstart")),
    "endpoint-paper": lambda: serving("endpoint", lambda rows: served.clients(rows, "paper")),
    "endpoint-goals": lambda: serving("endpoint", lambda rows: served.goals(rows, ("quickstart", "paper"))),
    "languages-bits": lambda: table(*benches.bits(results("languages/bits.json"))),
    "eltec-small": lambda: perplexities("eltec-small"),
    "study": study,
    "study-verdicts": verdicts,
    "speed": speed,
    "growing": lambda: table(*benches.growing(results("growing/bench.json"))),
    "speed-fast": lambda: table(*benches.fast(*(results(f"speed/{name}.json") for name in ("loss", "distill")))),
    "best": lambda: table(*benches.recipes(results("best/results.json"), results("best-novels/results.json"))),
    "to-loss": lambda: table(*benches.to_loss(results("to-loss/bench.json"))),
    "overhead": lambda: table(*benches.overhead([results(f"overhead/{name}.json") for name in ("bench", "parts")])),
    "consumers": consumers,
    "alignment": lambda: table(*benches.alignment(*(results(f"alignment/{name}.json") for name in ("bench", "alone")))),
    "pretrained": lambda: table(*benches.pretrained(results("smollm2/bench.json"))),
    "pretrained-alone": lambda: table(*benches.alone(results("smollm2/bench.json"))),
    "pretrained-costs": lambda: table(*benches.costs(results("smollm2/bench.json"))),
}


PLOTS = {"growing/growing.svg": "growing/bench.json"}
"""Plots that :mod:`plots` draws, by the results that they show, below docs/results."""


def pages() -> list[Path]:
    """Documents that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def filled(text: str) -> str:
    """A page with its tables as the results have them now.

    Raises:
        KeyError: the page names a table that does not exist.
    """
    return PLACE.sub(lambda found: f"<!-- figures: {found[1]} -->\n{TABLES[found[1]]()}\n<!-- /figures -->", text)


def stale() -> dict[Path, str]:
    """Pages whose tables differ from the results, and plots of others, with what they should be."""
    texts = {page: page.read_text(encoding="utf-8") for page in pages()}
    return {page: new for page, text in texts.items() if (new := filled(text)) != text} | stale_plots()


def stale_plots() -> dict[Path, str]:
    """Plots of other results than those of now. Versions of matplotlib draw differently: what they show is compared."""
    found = {}
    for name, source in PLOTS.items():
        digest = hashlib.sha256((RESULTS / source).read_bytes()).hexdigest()
        plot, mark = RESULTS / name, f"<!-- {source}, SHA-256 {digest} -->\n"
        if not plot.is_file() or not plot.read_text(encoding="utf-8").endswith(mark):
            import plots

            lines = getattr(plots, plot.stem)(results(source)).splitlines()
            found[plot] = "\n".join(line.rstrip() for line in lines) + "\n" + mark
    return found


def main() -> int:
    """Write the tables, or with `--check` only say which pages are stale; 1 where some are."""
    check = "--check" in sys.argv[1:]
    for page, text in (found := stale()).items():
        print(f"{page.relative_to(ROOT)}: {'differs from the results' if check else 'written'}")
        if not check:
            page.write_text(text, encoding="utf-8")
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main())
