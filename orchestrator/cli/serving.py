"""`mome serve`: a run's endpoint, and changes to it while it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from orchestrator.cli.arguments import DEFAULT_RUNS, Local, RunName, Runs
from orchestrator.cli.precision import Precision

ENDPOINT = "mome"
_SERVE = "run"


class _RunOrCommand(TyperGroup):
    """`mome serve NAME` is `mome serve run NAME`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command's name before what is no command."""
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [_SERVE, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_RunOrCommand, no_args_is_help=True)
Version = Annotated[int | None, typer.Argument(help="Number of a version; the run's current one.", show_default=False)]
ExpertName = Annotated[str, typer.Argument(help="Name by which requests ask for it.", show_default=False)]


@app.callback()
def serving() -> None:
    """Serve a run's router and experts over HTTP, in OpenAI's shape, with Ray Serve.

    `mome serve NAME` serves it; the commands change what is served meanwhile.

    Examples:

        mome serve quickstart --port 8000

        mome serve status quickstart
    """


@app.command(_SERVE)
def run(
    name: RunName,
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings: max_replicas=4; serve/deployments/settings.py has all.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Take settings from a file like serve/config.yaml.", show_default=False)
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; another than 127.0.0.1 needs --keys.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 8000.")] = None,
    keys: Annotated[Path | None, typer.Option(help="File of API keys, of `mome keys`.", show_default=False)] = None,
    precision: Precision = "",
    local: Local = False,
    log_prompts: Annotated[bool, typer.Option(help="Write prompts into the log of requests too.")] = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Serve a run until Ctrl-C or SIGTERM; running answers finish then. With Ray Serve, or (--local) in this process.

    Examples:

        mome serve run quickstart

        mome serve run quickstart slots=16 min_replicas=0 max_replicas=4

        mome serve run quickstart --config serve/config.yaml --host 0.0.0.0 --keys keys.json
    """
    from orchestrator.api import load_run
    from orchestrator.api.extras import needs_cluster, needs_interface

    root = load_run(name, runs).folder
    if local:
        with needs_interface():
            from serve.alone import serve_alone
        if settings or config:
            raise typer.BadParameter("settings and --config are of Ray Serve's deployments: leave --local out")
        serve_alone(root, host or "127.0.0.1", 8000 if port is None else port, precision or "fp32", keys, log_prompts)
        return
    with needs_cluster(", or give --local"):
        from serve.deployments.lean import without_pandas

        without_pandas()
        from serve.app import deploy, settings_of
    given = {"host": host, "port": port, "keys": keys, "precision": precision or None}
    given["log_prompts"] = log_prompts or None
    options = {"host": "127.0.0.1", "port": 8000} | (settings_of(config) if config else {})
    deploy(root, **_overridden(options, given, settings or ()))


def _overridden(options: dict[str, Any], given: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Settings of a file, what the command line's options say, what its words say."""
    from orchestrator.config.loading import apply_override

    options |= {key: value for key, value in given.items() if value is not None}
    for setting in settings:
        options = apply_override(options, setting)
    return options


@app.command()
def add(
    name: RunName,
    expert: ExpertName,
    folder: Annotated[Path, typer.Argument(help="Its model's folder, readable on every node.", show_default=False)],
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Serve one expert more, or another one in its place; nothing else is restarted.

    Example:

        mome serve add quickstart es runs/other/stages/expert-es/0123456789abcdef/model
    """
    _tell(_ask(name, runs, "add", expert, folder.resolve()))


@app.command()
def remove(name: RunName, expert: ExpertName, runs: Runs = DEFAULT_RUNS) -> None:
    """Serve an expert no longer; its running answers finish.

    Example:

        mome serve remove quickstart es
    """
    _tell(_ask(name, runs, "remove", expert))


@app.command()
def use(
    name: RunName,
    version: Version = None,
    percent: Annotated[float, typer.Option(help="Of the requests; the others stay where they are.")] = 100.0,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Serve a version of the mixture, for all requests or for some; go back to another one at once.

    Examples:

        mome serve use quickstart 2 --percent 5

        mome serve use quickstart 1
    """
    _tell(_ask(name, runs, "use", version, percent))


@app.command()
def status(
    name: RunName,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Say what is served: versions, experts, their states and replicas.

    Example:

        mome serve status quickstart
    """
    import json as text

    from rich.table import Table

    from orchestrator.cli.consoles import table_console

    found = _ask(name, runs, "status")
    if json:
        print(text.dumps(found, indent=1))
        return
    table = Table("version", "share", "expert", "state", "replicas", "folder")
    share = found["percent"]
    tables = [(found["table"], 100 - share), *([(found["canary"], share)] if found["canary"] else [])]
    for mixture, part in tables:
        for expert, facts in mixture["experts"].items():
            state = found["applications"].get(facts["application"], {"status": "gone", "replicas": 0})
            row = (mixture["version"], f"{part:g} %", expert, state["status"].lower(), str(state["replicas"]))
            table.add_row(*row, facts["folder"])
    table_console().print(table)


def _ask(name: str, runs: Path, method: str, *arguments: Any) -> Any:
    from orchestrator.api import load_run
    from orchestrator.api.extras import needs_cluster

    root = load_run(name, runs).folder
    with needs_cluster():
        from serve.deployments.endpoint import ask
    return ask(root, ENDPOINT, method, *arguments)


def _tell(registry: Any) -> None:
    for table in registry.tables:
        share = registry.percent if table is registry.canary else 100 - registry.percent
        print(f"version {table.version}, {share:g} % of the requests: {', '.join(table.experts)}")
