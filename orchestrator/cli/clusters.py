"""`mome cluster`: what a cluster that is only described would do with a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.arguments import Overrides, RecipeFile

app = typer.Typer(no_args_is_help=True, help="Clusters, before they are paid for.")


@app.callback()
def clusters() -> None:
    """Keep `check` a command with a name, though there is no other."""


@app.command("check")
def check(
    recipe: RecipeFile,
    file: Annotated[Path, typer.Argument(help="Ray's cluster file, or KubeRay's RayCluster, RayJob or RayService.")],
    overrides: Overrides = None,
    price: Annotated[
        list[str] | None, typer.Option(help="TYPE=DOLLARS an hour of a node of this type; the head has a type too.")
    ] = None,
) -> None:
    """Say whether a recipe fits a described cluster, how long it takes there, and what that costs.

    Examples:

        mome cluster check jobs/recipes/paper.yaml cluster.yaml

        mome cluster check paper cluster.yaml --price head=0.46 --price gpu-spot=4.10
    """
    from orchestrator.api.clusters import check_cluster
    from orchestrator.cli.plan import show_plan

    found = check_cluster(recipe, file, *(overrides or ()), prices=dict(map(_price, price or ())))
    show_plan(found.plan)
    for line in found.outlook:
        print(line)


def _price(text: str) -> tuple[str, float]:
    """The type and the dollars of "TYPE=DOLLARS".

    Raises:
        ResourceError: it is of another form.
    """
    from orchestrator.errors import ResourceError

    name, equals, dollars = text.partition("=")
    try:
        if not (name and equals):
            raise ValueError
        return name.strip(), float(dollars)
    except ValueError:
        raise ResourceError(f"{text!r} is no price", "--price", "--price TYPE=DOLLARS, for example gpu=4.1") from None
