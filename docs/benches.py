"""Tables of committed benches: heading and rows. `docs/figures.py` writes them into pages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Rows = Mapping[tuple[str, str], Mapping[str, Any]]
Table = tuple[list[str], list[list[str]]]
HALF = "difference in bits per byte, half its interval"
PEERS = {
    "cross-entropy alone": "nothing: cross-entropy alone",
    "TRL's GOLD, its best": "TRL 1.16's GOLD, its best (`bayesian`, hybrid)",
    "TRL's GOLD, its defaults": "TRL 1.16's GOLD, its defaults",
}
TIMES = ("equal tokens", "equal time")


def by_case(found: Mapping[str, Any]) -> Rows:
    """Rows of a bench by case and metric."""
    return {(row["case"], row["metric"]): row for row in found["rows"]}


def alignment(found: Mapping[str, Any], more: Mapping[str, Any]) -> Table:
    """Students with another tokenizer than the teacher's: heading and rows.

    Args:
        found: with all peers.
        more: of more seeds, beside cross-entropy alone.
    """
    rows, alone = by_case(found), by_case(more)
    case = next(case for case, _ in rows).partition(", beside")[0]
    ours = rows[f"{case}, beside the teacher", "bits per byte"]
    step = rows[f"{case}, beside cross-entropy alone", "time of a step"]["ours"]
    lines = [["ours, `forward_kl`", f"{ours['ours']:.3f}", "", f"{step:.2f} s"]]
    for peer, name in PEERS.items():
        bits, time = (rows[f"{case}, beside {peer}", metric] for metric in ("bits per byte", "time of a step"))
        of_more = {key: row for key, row in alone.items() if key[0].endswith(f", beside {peer}")}
        less = interval(
            next((row for key, row in of_more.items() if key[1] == HALF), rows[f"{case}, beside {peer}", HALF])
        )
        lines.append([name, f"{bits['baseline']:.3f}", less, f"{time['baseline']:.2f} s"])
    lines.append(["the teacher, in its own tokens", f"{ours['baseline']:.3f}", "", ""])
    return ["beside cross-entropy, half and half", "bits per byte", "ours less it", "time of a step"], lines


def pretrained(found: Mapping[str, Any]) -> Table:
    """Experts of a run with a pretrained teacher beside it, by language: heading and rows."""
    rows, lines = by_case(found), []
    for language in (case.partition(":")[0] for case, _ in rows if case.endswith(": beside the teacher")):
        beside, line = rows[f"{language}: beside the teacher", "bits per byte"], [language]
        for name, side in (("teacher", "baseline"), ("expert of the run", "ours")):
            between = rows.get((f"{language}: {name}, interval over documents", "bits per byte, low and high"))
            span = f" ({between['ours']:.3f} to {between['baseline']:.3f})" if between else ""
            line.append(f"{beside[side]:.3f}{span}")
        lines.append(line)
    return ["language", "teacher", "its expert"], lines


def bits(found: Mapping[str, Any]) -> Table:
    """Experts of as many bytes of text in each language, beside xz: heading and rows."""
    rows, lines = by_case(found), []
    for case, metric in rows:
        language, _, _ = case.partition(": an expert of 2 × 128, beside xz")
        if language == case or metric != "bits per byte":
            continue
        of = f"{language}: an expert of 2 × 128"
        between = rows[f"{of}, interval over documents", "bits per byte, low and high"]
        ours, span = rows[case, metric], f"{between['ours']:.2f} to {between['baseline']:.2f}"
        characters = rows[f"{of}, beside bytes a character", "bits per character"]
        widths = (f"{characters['baseline']:.2f}", f"{characters['ours']:.2f}")
        lines.append([language, f"{ours['ours']:.2f} ({span})", f"{ours['baseline']:.2f}", *widths])
    return ["language", "bits per byte", "xz", "bytes a character", "bits per character"], lines


def fast(loss: Mapping[str, Any], distill: Mapping[str, Any]) -> Table:
    """The loss and the step of distillation on a processor that is fast in bf16: heading and rows."""
    lines = []
    for bench, found, metrics in (("loss", loss, ("time", "peak memory")), ("distill", distill, ("speed",))):
        for row in found["rows"]:
            if row["metric"] in metrics:
                sides = (f"{row[side]:,.4g} {row['unit']}" for side in ("ours", "baseline"))
                lines.append([f"`{bench}`: {row['case']}: {row['metric']}", *sides, f"{row['ratio']:.2f}"])
    return ["what", "ours", "baseline", "ratio"], lines


def to_loss(found: Mapping[str, Any]) -> Table:
    """Time until a validation loss that others end with: heading and rows."""
    lines = []
    for (case, metric), row in by_case(found).items():
        ours, _, target = case.rpartition(", to ")
        loss, _, theirs = target.partition(" of ")
        if metric == "CPU time":
            sides = (f"{row[side]:,.3g} s" for side in ("ours", "baseline"))
            lines.append([ours, f"{theirs}: {loss}", *sides, f"{row['ratio']:.3f}"])
    return ["ours", "to the loss of", "CPU time", "theirs", "ratio"], lines


def recipes(small: Mapping[str, Any], novels: Mapping[str, Any]) -> Table:
    """What each part of a recipe is worth, on the quickstart's text and on novels: heading and rows."""
    lines = []
    for text, found in (("quickstart", small), ("novels", novels)):
        for each in found["configurations"]:
            less = "" if not each["difference"] else f"{each['difference']:+.3f} ± {each['difference_margin']:.3f}"
            lines.append([text, each["label"], f"{each['mean']:.3f}", less.replace("-", "−")])
    return ["text", "recipe", "loss", "less reverse KL's"], lines


def alone(found: Mapping[str, Any]) -> Table:
    """Students of a pretrained teacher beside cross-entropy alone, by language: heading and rows."""
    rows, lines = by_case(found), []
    for case, metric in rows:
        language, _, name = case.partition(": beside cross-entropy alone, ")
        if metric == "bits per byte" and name:
            tokens = rows[f"{language}: tokens, beside cross-entropy alone in equal time", "tokens"]
            less = interval(rows[case, "difference, half its interval"])
            count = f"{tokens['ours' if name == TIMES[0] else 'baseline']:,.0f}"
            lines.append(
                [
                    f"{language}, {name}",
                    count,
                    f"{rows[case, metric]['ours']:.3f}",
                    f"{rows[case, metric]['baseline']:.3f}",
                    less,
                ]
            )
    return ["student", "its tokens alone", "distilled", "cross-entropy alone", "distilled less it"], lines


def costs(found: Mapping[str, Any]) -> Table:
    """What the run of a pretrained teacher takes: heading and rows."""
    rows = by_case(found)
    lines = []
    for case, metric in rows:
        row = rows[case, metric]
        if metric in ("wall time", "memory"):
            sides = [f"{row[side]:.3g} {row['unit']}" for side in ("ours", "baseline")]
            lines.append([case, *sides])
    return ["what", "this", "beside it"], lines


def interval(row: Mapping[str, Any]) -> str:
    """A difference with half of its interval."""
    return f"{row['ours']:+.3f} ± {row['baseline']:.3f}".replace("-", "−")


def overhead(runs: Sequence[Mapping[str, Any]]) -> Table:
    """What a training costs through our stack, beside torchrun, an older build and the goals: heading and rows.

    Where two runs have a row, that of the later one is taken.
    """
    found = {key: row for each in runs for key, row in by_case(each).items()}
    to_step, whole = "call to the end of the first optimizer step", "8 trainings, one after the other"
    all_of_it = f"{whole}, the session's start and end included"
    metrics = ("a row of metrics at every optimizer step, beside the goal", "share of an optimizer step")
    shown = {
        f"{to_step}, a session's first training, beside torchrun": (
            f"one worker, first of a session: {to_step}, beside torchrun",
            "wall time",
        ),
        "… a later training": (f"one worker, later: {to_step}, beside torchrun", "wall time"),
        "an optimizer step, beside torchrun": ("one worker, later: one optimizer step, beside torchrun", "wall time"),
        "… CPU time": ("one worker, later: one optimizer step, beside torchrun", "CPU time"),
        "share of an optimizer step that its row of metrics takes, beside the goal": metrics,
        f"{whole}, CPU time, beside torchrun": (f"{all_of_it}, beside torchrun", "CPU time"),
        "… beside the build of 2026-11-22": (f"{all_of_it}, beside the older build", "CPU time"),
        "… wall time": (f"{all_of_it}, beside the older build", "wall time"),
    }
    rows = []
    for what, key in shown.items():
        row = found[key]
        figures = [f"{row[side]:.3g} {row['unit']}".strip() for side in ("ours", "baseline")]
        rows.append([what, *figures, f"{row['ratio']:.2f}"])
    return ["what", "ours", "baseline", "ratio"], rows


POINT = re.compile(r"(\w+), ([\d,]+): (.+)")
GROWING = {
    "tokens": {"all": "all", "corpus": "corpus", "tokens": "tokens", "cache": "cache", "expert": "expert"},
    "vocabulary": {name: f"an expert's training, `{name}`" for name in ("hidden_cache", "sampled_cache")},
    "experts": {
        "all": "all",
        "teacher": "teacher",
        "cache": "caches",
        "expert": "experts",
        "router": "router",
        "evaluation": "evaluation",
    },
}
FURTHER = {"tokens": "a further million", "vocabulary": "a further thousand", "experts": "a further one"}
"""As the slopes' rows are named, by what grows."""


def growth(found: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, dict[int, float]]]:
    """By what grows and what was measured: by metric, the figure of each size."""
    series: dict[tuple[str, str], dict[str, dict[int, float]]] = {}
    for row in found["rows"]:
        if point := POINT.fullmatch(row["case"]):
            of_metric = series.setdefault((point[1], point[3]), {}).setdefault(row["metric"], {})
            of_metric[int(point[2].replace(",", ""))] = row["ours"]
    return series


def growing(found: Mapping[str, Any]) -> Table:
    """What grows with what: heading and rows."""
    rows, series, lines = by_case(found), growth(found), []
    for what, shown in GROWING.items():
        for name, title in shown.items():
            of_metric, case = series[what, name], f"{what}: {name}"
            sizes = " / ".join(_short(size) for size in of_metric["CPU time"])
            line = [f"{what} ({sizes}): {title}"]
            for metric in ("CPU time", "memory"):
                digits = ",.0f" if metric == "memory" else ".3g"
                line.append(" / ".join(f"{value:{digits}}" for value in of_metric[metric].values()))
                slope = rows[f"{case}, {FURTHER[what]}", metric]
                line.append(f"{slope['ours']:.2g} {slope['unit']}")
                if metric == "CPU time":
                    line.append(f"{rows[f'{case}, exponent', metric]['ours']:.2f}")
            line.append(f"{rows[f'{case}, {FURTHER[what]}', 'memory without files']['ours']:.2g} MB")
            lines.append(line)
    heading = ["what grows: what is measured", "CPU seconds", "a further unit", "exponent", "memory, MB"]
    return [*heading, "a further unit", "without files"], lines


def _short(size: int) -> str:
    return f"{size // 10**6}M" if size >= 10**6 else f"{size // 1000}k" if size >= 1000 else str(size)
