"""`mome`: the command line. Commands import what they need when they run, so that --help is instant."""

from __future__ import annotations

import gc
import sys
from functools import cache
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli import beginning, copying, export, managing, plugins, precision, rooms
from orchestrator.cli.arguments import (
    BENCHES,
    DEFAULT_RUNS,
    Accept,
    BenchOptions,
    ClusterFile,
    Experts,
    Force,
    Local,
    Overrides,
    PlanOnly,
    RecipeFile,
    RunName,
    Runs,
    Strict,
    SweepFile,
    check_together,
    named,
)
from orchestrator.cli.ending import run_to_its_end
from orchestrator.cli.precision import Precision

app = typer.Typer(
    name="mome",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Distil one multilingual teacher into small per-language experts, route between them, serve them.",
)
for name, room in rooms.ROOMS.items():
    app.add_typer(room, name=name)
app.callback()(beginning.version)


@app.command()
def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    plan: PlanOnly = False,
    cluster: ClusterFile = None,
    local: Local = False,
    until: Annotated[list[str] | None, typer.Option(help="Stop after this stage.")] = None,
    force: Force = None,
    strict: Strict = False,
    accept: Accept = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Run an experiment, from text to its report. What is done already is not done again.

    Examples:

        mome run jobs/recipes/quickstart.yaml

        mome run jobs/recipes/quickstart.yaml --plan

        mome run jobs/recipes/paper.yaml --plan --cluster cluster.yaml

        mome run jobs/recipes/quickstart.yaml name=hotter experts.distillation.soft.temperature=2 --local

        mome run jobs/recipes/quickstart.yaml --until teacher
    """
    check_together(plan, strict, accept, local, cluster)
    given: dict[str, Any] = {"runs": runs, "until": until or (), "force": force or (), "strict": strict, "local": local}
    if plan:
        from orchestrator import api
        from orchestrator.cli.plan import show_plan

        show_plan(api.plan(recipe, *(overrides or ()), cluster=cluster, **given))
    else:
        from orchestrator.cli.run import run_recipe

        run_recipe(recipe, overrides or (), accept=accept, **given)


@app.command()
def sweep(
    recipe: SweepFile,
    overrides: Overrides = None,
    plan: PlanOnly = False,
    cluster: ClusterFile = None,
    local: Local = False,
    force: Force = None,
    strict: Strict = False,
    accept: Accept = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Train configurations of a recipe with paired seeds, and compare them in a report.

    Ray Tune searches and stops early, where the sweep asks for that; everything else works without Ray too (--local).

    Examples:

        mome sweep jobs/recipes/sweep.yaml

        mome sweep jobs/recipes/sweep.yaml seeds=[1,2,3] --plan
    """
    from orchestrator.cli import sweep as command

    check_together(plan, strict, accept, local, cluster)
    options: dict[str, Any] = {"force": force or (), "strict": strict, "local": local}
    if plan:
        command.print_sweep_plan(recipe, overrides or (), runs, cluster=cluster, **options)
    else:
        command.sweep(recipe, overrides or (), runs, accept=accept, **options)


@app.command()
def show(name: RunName, runs: Runs = DEFAULT_RUNS) -> None:
    """Print what a run produced, with its lineage.

    Example:

        mome show quickstart
    """
    from orchestrator.cli.show import show_run

    show_run(name, runs)


@app.command()
def report(name: RunName, runs: Runs = DEFAULT_RUNS) -> None:
    """Print a run's report and say where its page is.

    Example:

        mome report quickstart
    """
    from orchestrator.cli.show import show_report

    show_report(name, runs)


@app.command()
def generate(
    name: RunName,
    prompt: Annotated[str, typer.Argument(help="Text to go on from.", show_default=False)],
    model: Annotated[str, typer.Option(help="An expert's language, or auto: let the router choose.")] = "auto",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens at most; left out: 64, or what fits.")] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0: always the most probable token.")] = 0.8,
    seed: Annotated[int | None, typer.Option(help="Seed of the sampling.")] = None,
    experts: Experts = None,
    common: Annotated[bool, typer.Option(help="Compute beside the common expert, where there is one.")] = True,
    precision: Precision = "fp32",
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Route a prompt to its expert and generate, in this process.

    Examples:

        mome generate quickstart "The history of the"

        mome generate quickstart "def main():" --model py --temperature 0

        mome generate quickstart "Ein Fluss" --experts de,fr
    """
    from orchestrator.cli.generate import generate_text

    generate_text(
        name,
        prompt,
        model,
        runs,
        max_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
        experts=named(experts),
        common=common,
        precision=precision,
    )


@app.command()
def route(
    name: RunName,
    text: Annotated[
        str | None, typer.Argument(help="Text to route; -: the standard input.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Route each line of this file (-: of the standard input), as JSON lines.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a line of JSON.")] = False,
    experts: Experts = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Say which expert a text goes to: label, probabilities, spans of other languages, and why.

    Examples:

        mome route quickstart "What is the capital of France?"

        mome route quickstart "Que fait ce code ? print(sum(range(3)))"

        git log -1 --format=%B | mome route quickstart - --json

        mome route quickstart --file prompts.txt > routes.jsonl
    """
    if (text is None) == (file is None):
        raise typer.BadParameter("give a text, or --file with one text a line")
    from orchestrator.cli.route import route_lines, route_text

    if text is not None:
        route_text(name, text, runs, json, named(experts))
    elif file is not None:
        route_lines(name, file, runs, named(experts))


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help=f"What to measure: {BENCHES}.", show_default=False)],
    options: BenchOptions = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here too.")] = None,
) -> None:
    """Measure speed against a baseline in the same run.

    Examples:

        mome bench train

        mome bench overhead against=../older-checkout --json overhead.json
    """
    from orchestrator.cli.bench import run_bench

    run_bench(name, options or (), json)


@app.command()
def doctor() -> None:
    """Say what this machine has, what is missing, and which line installs it.

    Example:

        mome doctor
    """
    from orchestrator.cli.doctor import examine

    examine()


for name, command in {
    "plugins": plugins.tell,
    "schema": plugins.print_schema,
    "init": beginning.init,
    **managing.COMMANDS,
    **copying.COMMANDS,
    **export.COMMANDS,
    **precision.COMMANDS,
}.items():
    app.command(name)(command)
app.command("ls", hidden=True)(managing.ps)  # what people type too


@cache
def _command() -> Any:
    """All commands and their options. To put them together takes longer than most commands that only look."""
    return typer.main.get_command(app)


def main() -> None:
    """Run the command line; see :func:`orchestrator.cli.ending.run_to_its_end`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal can't show is no reason to end
    gc.set_threshold(50_000, 20, 50)  # Python's own, 700, has it go through torch again and again while it is imported
    run_to_its_end(lambda: _command()(prog_name="mome"))


if __name__ == "__main__":
    main()
