"""`mome generate` and `mome serve`: a finished run at work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.cli.extras import needs_cluster
from orchestrator.cli.show import open_run

if TYPE_CHECKING:
    from serve.messages import Sampling


def generate_text(
    name: str,
    prompt: str,
    model: str,
    sampling: Sampling,
    runs: Path,
    experts: Sequence[str] | None = None,
    common: bool = True,
) -> None:
    """Continue a prompt by the expert it is routed to, and say which that was.

    Raises:
        MomeError: no such run or expert, an empty or too long prompt.
    """
    from serve.mixture import Mixture

    mixture = Mixture.open(open_run(name, runs).root, experts=experts, common=common)
    made = mixture.generate(prompt, model, sampling)
    console = Console(highlight=False)
    console.print(prompt.encode("utf-8", "replace").decode(), style="bold", end="", markup=False)
    console.print(made.text, markup=False)
    route = "as asked"
    if made.probabilities:
        ranked = sorted(made.probabilities.items(), key=lambda item: -item[1])
        route = "routed: " + ", ".join(f"{language} {probability:.1%}" for language, probability in ranked)
    console.print(f"expert {made.expert} ({route}); {made.completion_tokens} tokens, {made.finish_reason}", style="dim")


def serve_run(name: str, host: str, port: int, runs: Path) -> None:
    """Serve a run until interrupted.

    Raises:
        MomeError: no such run, or the port is taken. ResourceError: Ray is not installed.
    """
    root = open_run(name, runs).root
    with needs_cluster():
        from serve.app import deploy
    deploy(root, host=host, port=port, blocking=True)
