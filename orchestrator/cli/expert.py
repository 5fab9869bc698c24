"""`mome expert`: a mixture grows, or loses an expert."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.arguments import DEFAULT_RUNS, Local, Overrides, PlanOnly, RunName, Runs

app = typer.Typer(no_args_is_help=True, help="Add, remove and replace experts of a finished run's mixture.")

Language = Annotated[str, typer.Argument(help="Language of the expert.", show_default=False)]
_SOURCE = typer.Option(
    help="Its text: files:PATH, another source as TYPE or TYPE:PATH, or {type: …, field: …} as in a recipe.",
    show_default=False,
)
Kind = Annotated[str, typer.Option(help="How to clean it: prose or code.")]
Teacher = Annotated[
    str | None,
    typer.Option(help="Folder or hub name of a teacher with the run's tokenizer; else the run's.", show_default=False),
]


@app.command()
def add(
    name: RunName,
    language: Annotated[str, typer.Option(help="Name of the language: es.", show_default=False)],
    source: Annotated[str, _SOURCE],
    overrides: Overrides = None,
    kind: Kind = "prose",
    teacher: Teacher = None,
    plan: PlanOnly = False,
    local: Local = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Distil one more expert and extend the router; nothing that is there is trained again.

    Examples:

        mome expert add quickstart --language es --source files:data/es

        mome expert add quickstart --language es --source files:data/es experts.training.tokens=200000 --plan
    """
    from orchestrator.cli.growing import change_mixture, text_of

    text = text_of(source, kind)
    change_mixture(name, "add", language, text, teacher, overrides or (), plan=plan, local=local, runs=runs)


@app.command()
def remove(
    name: RunName,
    language: Language,
    overrides: Overrides = None,
    plan: PlanOnly = False,
    local: Local = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Take an expert out of the mixture; the others stay as they are, and earlier versions keep it.

    Examples:

        mome expert remove quickstart de

        mome expert remove quickstart en router.reject=best
    """
    from orchestrator.cli.growing import change_mixture

    change_mixture(name, "remove", language, None, None, overrides or (), plan=plan, local=local, runs=runs)


@app.command()
def replace(
    name: RunName,
    language: Language,
    overrides: Overrides = None,
    source: Annotated[str | None, _SOURCE] = None,
    kind: Kind = "prose",
    teacher: Teacher = None,
    plan: PlanOnly = False,
    local: Local = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Train an expert anew: from other text, with another seed, or with other fields of the recipe.

    Examples:

        mome expert replace quickstart fr seed=5

        mome expert replace quickstart fr --source files:data/fr experts.training.epochs=5
    """
    from orchestrator.cli.growing import change_mixture, text_of

    text = None if source is None else text_of(source, kind)
    change_mixture(name, "replace", language, text, teacher, overrides or (), plan=plan, local=local, runs=runs)
