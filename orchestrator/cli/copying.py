"""`mome push` and `mome pull`: runs to a store and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.arguments import DEFAULT_RUNS, RunName, Runs

if TYPE_CHECKING:
    from orchestrator.housekeeping.copies import Copied


def push(
    name: RunName,
    url: Annotated[str, typer.Argument(help="s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or a folder.", show_default=False)],
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Copy a run, finished or not, to a store. What the store has is not sent again; MLflow's files stay here.

    Examples:

        mome push quickstart s3://models/runs

        mome push quickstart /shared/runs
    """
    from orchestrator.housekeeping.finding import find_run
    from orchestrator.housekeeping.pushing import push as copy
    from orchestrator.remote.errors import without_login

    root = find_run(name, runs)
    copied = copy(root, url, print)
    print(f"{_told(copied, 'sent')}; mome pull {without_login(url).rstrip('/')}/{root.name} brings the run back")


def pull(
    url: Annotated[str, typer.Argument(help="A run in a store: URL/RUN.", show_default=False)],
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Bring a run back from a store. What is here is not fetched again.

    Example:

        mome pull s3://models/runs/quickstart
    """
    from orchestrator.housekeeping.pulling import pull as copy

    root, copied = copy(url, runs, print)
    print(f"{_told(copied, 'fetched')}; the run is in {root}")


COMMANDS: dict[str, Callable[..., None]] = {"push": push, "pull": pull}
"""By their names."""


def _told(copied: Copied, what: str) -> str:
    if copied.artifacts:
        return f"{what}: {copied.artifacts} artifacts ({copied.bytes / 1e6:.1f} MB) and the run's records"
    return f"{what}: the run's records" if copied.has_changed else "nothing to do"
