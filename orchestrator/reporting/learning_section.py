"""The section of learning curves: losses of the teacher and the experts against the step, and the losses' weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.reporting.document import Section
from orchestrator.reporting.figures import SOFT, Curve, Figure, curves, draw, legend, thin_lines
from orchestrator.reporting.run_results import Curves, RunResults


def learning(results: RunResults) -> Section:
    """Learning curves of the teacher and of the experts, and the weights of the two losses."""
    teacher = results["learning_curves"]["teacher"]
    experts = {language: results["learning_curves"][language] for language in results["languages"]}
    figures = [figure for figure in (_teacher(teacher), _experts(experts), _weights(experts)) if figure]
    text = "Thin lines: training cross-entropy, each point the mean since the point before. Markers: validation."
    return Section("learning", "Learning curves", (text if figures else "No metrics were kept.",), tuple(figures))


def _teacher(found: Curves) -> Figure | None:
    lines = found["validation_by_language"] or {"validation": found["validation"]}
    lines = {label: line for label, line in lines.items() if line}
    if not lines and not found["train"]:
        return None

    def paint(canvas: Any) -> None:
        axes = canvas.subplots()
        thin_lines(axes, {"training": found["train"]}, [SOFT])
        curves(axes, lines, "cross-entropy, nats a token")
        legend(axes, columns=5)

    caption = "Teacher: training loss over all languages, and validation loss by language."
    return draw("learning-teacher", caption, _describe(caption, lines), paint)


def _experts(found: Mapping[str, Curves]) -> Figure | None:
    own = {lang: each["validation_by_language"].get(lang) or each["validation"] for lang, each in found.items()}
    lines = {f"expert {lang}": line for lang, line in own.items()}
    if not any(lines.values()):
        return None

    def paint(canvas: Any) -> None:
        axes = canvas.subplots()
        thin_lines(axes, {lang: each["train"] for lang, each in found.items()})
        curves(axes, lines, "cross-entropy, nats a token")
        legend(axes, columns=4)

    caption = "Experts: training cross-entropy and validation loss, each on its own language."
    return draw("learning-experts", caption, _describe(caption, lines), paint)


def _weights(found: Mapping[str, Curves]) -> Figure | None:
    if not any(each["alpha"] for each in found.values()):
        return None

    def paint(canvas: Any) -> None:
        left, right = canvas.subplots(1, 2, sharey=True)
        alphas = {lang: each["alpha"] for lang, each in found.items()}
        betas = {lang: each["beta"] for lang, each in found.items()}
        for axes, lines, title in ((left, alphas, "alpha (cross-entropy)"), (right, betas, "beta (distillation)")):
            thin_lines(axes, lines)
            axes.set(title=title, xlabel="optimizer step", ylim=(-0.03, 1.03))

    caption = (
        "Weights of the two losses, means over the steps from point to point: a line for each expert, "
        "in the colours of the figure above."
    )
    ends = {f"alpha of expert {lang}": each["alpha"] for lang, each in found.items()}
    return draw("loss-weights", caption, _describe(caption, ends), paint, (7.0, 2.4))


def _describe(caption: str, lines: Mapping[str, Curve]) -> str:
    ends = [f"{label} from {line[0][1]:.2f} to {line[-1][1]:.2f}" for label, line in lines.items() if line]
    return f"{caption} {'; '.join(ends)}."
