"""`mome keys`: who may ask a server."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="API keys of `mome serve --keys FILE`. Their file holds digests alone.")
File = Annotated[Path, typer.Option(help="File of the keys; only its owner can read it.")]
Name = Annotated[str, typer.Argument(help="Whose key it is.", show_default=False)]
DEFAULT = Path("keys.json")


def _keys() -> ModuleType:
    from orchestrator.api.extras import needs_interface

    with needs_interface():
        from serve.api import keys
    return keys


@app.command()
def add(name: Name, file: File = DEFAULT) -> None:
    """Make a key and print it, this once.

    Example:

        mome keys add alice
    """
    keys = _keys()

    print(keys.add(file, name))


@app.command()
def revoke(name: Name, file: File = DEFAULT) -> None:
    """Have a key refused from now on, by running servers too.

    Example:

        mome keys revoke alice
    """
    keys = _keys()

    keys.revoke(file, name)
    print(f"revoked: {name}")


@app.command(name="list")
def list_keys(file: File = DEFAULT) -> None:
    """Print the names of the keys, and since when there is each.

    Example:

        mome keys list
    """
    keys = _keys()

    for name, entry in keys.read(file).items():
        made = datetime.fromtimestamp(int(entry["created"]), UTC)
        print(f"{name}\t{made:%Y-%m-%d %H:%M} UTC")
