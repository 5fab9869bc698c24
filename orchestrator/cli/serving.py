"""`mome serve`: a finished run behind HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.arguments import DEFAULT_RUNS, Local, RunName, Runs
from orchestrator.cli.precision import Precision

KeysFile = Annotated[Path | None, typer.Option(help="Ask for API keys of this file (mome keys); left out: for none.")]


def serve(
    name: RunName,
    host: Annotated[str, typer.Option(help="Address to listen on; the default is this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any that is free.")] = 8000,
    precision: Precision = "fp32",
    keys: KeysFile = None,
    log_prompts: Annotated[bool, typer.Option(help="Write prompts into the log too; with --local.")] = False,
    local: Local = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Serve a run's router and experts over HTTP, in OpenAI's shape, with Ray Serve or (--local) in this process.

    Examples:

        mome serve quickstart --port 8000

        mome serve quickstart --local --keys keys.json --host 0.0.0.0
    """
    from orchestrator.api import load_run
    from orchestrator.api.extras import needs_interface

    root = load_run(name, runs).folder
    if local:
        with needs_interface():
            from serve.alone import serve_alone
        serve_alone(root, host, port, precision, keys, log_prompts)
        return
    from orchestrator.cli.generate import serve_run

    serve_run(root, host, port, precision, keys)


COMMANDS: dict[str, Callable[..., None]] = {"serve": serve}
"""By their names."""
