"""`mome ps`, `logs`, `stop` and `gc`: the runs of a folder, from another terminal than theirs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.arguments import DEFAULT_RUNS, RunName, Runs

if TYPE_CHECKING:
    from rich.table import Table

    from orchestrator.housekeeping.garbage import Garbage, Item
    from orchestrator.housekeeping.states import RunState


def ps(
    json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each run.")] = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """List runs: what each does or has come to, how far it is, and how large.

    Examples:

        mome ps

        mome ps --json --runs /shared/runs
    """
    from orchestrator.housekeeping.states import run_states

    if json:
        from json import dumps

        for state in run_states(runs):
            print(dumps(state.record(), ensure_ascii=False))
        return
    from orchestrator.cli.consoles import table_console

    states = list(run_states(runs))
    if states:
        table_console().print(_states(states))
    else:
        print(f"there are no runs in {runs}; mome run RECIPE makes one")


def logs(
    name: RunName,
    step: Annotated[str | None, typer.Argument(help="A step; none: those at work.", show_default=False)] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run is over.")] = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Print the metrics and messages of a step, or of the steps at work.

    Examples:

        mome logs quickstart

        mome logs quickstart expert-en

        mome logs quickstart -f
    """
    from orchestrator.housekeeping import logs as of
    from orchestrator.housekeeping.finding import find_run

    root = find_run(name, runs)
    quiet = True
    try:
        for line in of.follow(root, step) if follow else of.log_lines(root, step):
            print(line, flush=True)
            quiet = False
    except KeyboardInterrupt:  # the way to end it: nothing of the run was interrupted
        print(f"mome: not followed any more; {root.name} goes on", file=sys.stderr)
        return
    if quiet and not follow:
        print(f"{root.name} is at work and has written nothing yet; -f waits for it", file=sys.stderr)


def stop(name: RunName, runs: Runs = DEFAULT_RUNS) -> None:
    """Stop the process that is at work on a run, as Ctrl-C would. The same `mome run` command goes on later.

    Example:

        mome stop quickstart
    """
    from orchestrator.housekeeping.ending import stop_run
    from orchestrator.housekeeping.finding import find_run

    root = find_run(name, runs)
    has_ended = stop_run(root, print)
    still = "" if has_ended else "; its process is at something else"
    print(f"stopped: {root.name}{still}; the same command goes on from here")


def gc(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs; none: all.", show_default=False)
    ] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Also unfinished trainings that the latest plan does not have.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete, instead of listing what would be deleted.")] = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """List what nothing refers to any more, and how much its deletion frees; with --yes, delete it.

    Examples:

        mome gc

        mome gc quickstart --checkpoints

        mome gc quickstart --yes
    """
    from orchestrator.housekeeping.finding import find_run, run_folders
    from orchestrator.housekeeping.garbage import delete_garbage, find_garbage, freed

    found = []
    for root in [find_run(name, runs) for name in names] if names else run_folders(runs):
        garbage = (delete_garbage if yes else find_garbage)(root, checkpoints=checkpoints)
        _print_garbage(garbage, yes)
        found.append(garbage)
    items = [item for garbage in found for item in garbage.deletable]
    size = _size(freed(items))
    print(f"freed: {size}" if yes else f"would free: {size}" + ("; --yes deletes" if items else ""))


COMMANDS: dict[str, Callable[..., None]] = {"ps": ps, "logs": logs, "stop": stop, "gc": gc}
"""By their names."""


def _states(states: list[RunState]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("run", "state", "steps", "at work", "size", "changed (UTC)"):
        table.add_column(heading, justify="right" if heading in ("steps", "size") else "left", overflow="fold")
    for run in states:
        steps = "" if run.steps is None else f"{run.done}/{run.steps}"
        cells = (run.name, _state(run), steps, "\n".join(map(str, run.at_work)), _size(run.bytes))
        table.add_row(*map(Text, (*cells, run.changed[:16].replace("T", " "))))
    return table


def _state(run: RunState) -> str:
    if run.holder is None:
        return f"{run.state}: {run.why}" if run.why else run.state
    since = f" since {run.holder.since[:16].replace('T', ' ')}" if run.holder.since else ""
    return f"{run.state}{since} by {run.holder}"


def _print_garbage(garbage: Garbage, deleted: bool) -> None:
    from orchestrator.housekeeping.garbage import freed

    name = garbage.root.name
    if garbage.left_alone:
        print(f"{name}: left alone, {garbage.left_alone}")
    for item in garbage.items:
        said = f"kept, {_referred(item)}" if item.kept else "deleted" if deleted else "may be deleted"
        frees = "" if item.kept else f" (frees {_size(freed([item]))})"
        print(f"{name}: {item.path.relative_to(garbage.root)}: {_size(item.bytes)}, {said}{frees}")


def _referred(item: Item) -> str:
    return f"referred to by {item.kept}" if item.kind == "artifact" else item.kept


def _size(number: float) -> str:
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= limit:
            return f"{number / limit:.1f} {unit}"
    return f"{number:.0f} B"
