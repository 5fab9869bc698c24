"""`mome export`: a run's experts in the formats of other tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.arguments import DEFAULT_RUNS, RunName, Runs


def export(
    name: RunName,
    to: Annotated[str, typer.Option(help="Format; `mome plugins exports` lists them.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write.", show_default=False)],
    options: Annotated[
        list[str] | None, typer.Argument(help="Options of the format: option=value.", show_default=False)
    ] = None,
    expert: Annotated[str | None, typer.Option(help="An expert's language.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All experts, a folder each.")] = False,
    check: Annotated[int, typer.Option(min=0, help="Compare this many texts, and prompts, with the tool.")] = 0,
    common: Annotated[bool, typer.Option(help="Compute beside the common expert, where there is one.")] = True,
    push: Annotated[
        str | None, typer.Option(help="Upload to this repository of the Hugging Face Hub, too.", show_default=False)
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see a new repository.")] = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Write experts for other tools: transformers, llama.cpp, Ollama, CTranslate2, ONNX Runtime, lm-eval.

    With --check, what was written is opened in the tool first; where it reads texts or continues prompts otherwise,
    nothing is left.

    Examples:

        mome export quickstart --to hf --expert en --out quickstart-en

        mome export quickstart type=q8_0 --to gguf --all --out gguf --check 1000

        mome export quickstart --to mixture --out mixture

        mome export quickstart --to hf --all --out experts --push me/quickstart
    """
    if public and push is None:
        raise typer.BadParameter("--public is of a repository: it goes with --push USER/NAME")
    from orchestrator.api.exporting import Wish, export_run
    from orchestrator.api.runs import open_run
    from orchestrator.config.loading import apply_override

    chosen: dict[str, Any] = {}
    for option in options or ():
        chosen = apply_override(chosen, option)
    wish = Wish(to, expert, every, common, check, chosen, push, public)
    found = export_run(open_run(name, runs).root, wish, out)
    for what, facts in found.checked.items():
        print(f"{what}: " + ", ".join(f"{key} {value}" for key, value in facts.items()))
    print(f"exported to {found.folder}" + ("" if check else "; --check 1000 compares it with the tool"))
    for address in found.pushed:
        print(f"uploaded to {address}")


COMMANDS: dict[str, Callable[..., None]] = {"export": export}
"""By its name."""
