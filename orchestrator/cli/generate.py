"""`mome generate`: a finished run at work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from orchestrator.api import load_run


def generate_text(
    name: str,
    prompt: str,
    model: str,
    runs: Path,
    *,
    max_tokens: int | None,
    temperature: float,
    seed: int | None,
    experts: Sequence[str] | None = None,
    common: bool = True,
    precision: str = "fp32",
) -> None:
    """Continue a prompt by the expert it is routed to, and say which that was.

    Raises:
        MomeError: no such run or expert, an empty or too long prompt.
    """
    made = load_run(name, runs).generate(
        prompt,
        model,
        max_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
        experts=experts,
        common=common,
        precision=precision,
    )
    console = Console(highlight=False)
    console.print(prompt.encode("utf-8", "replace").decode(), style="bold", end="", markup=False)
    console.print(made.text, markup=False)
    route = "as asked"
    if made.probabilities:
        ranked = sorted(made.probabilities.items(), key=lambda item: -item[1])
        route = "routed: " + ", ".join(f"{language} {probability:.1%}" for language, probability in ranked)
    console.print(f"expert {made.expert} ({route}); {made.completion_tokens} tokens, {made.finish_reason}", style="dim")
