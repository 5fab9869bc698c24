"""What a store has twice: MLflow's client asks again where an answer is late, and then both requests may arrive."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

TOKEN = "mome.token"
"""A tag of runs, the same on what one wish for a run has made."""
_PAGE = 1000


def remove_twins(client: Any, experiment: str, parent: str, steps: Collection[str]) -> None:
    """Leave one run of each wish, for the parent run and for runs in it: the one that is in use, where one is.

    Args:
        client: of the store.
        experiment: its id.
        parent, steps: ids of the runs in use.
    """
    there, ours = list(_runs(client, experiment, f"tags.`mlflow.parentRunId` = '{parent}'")), {parent, *steps}
    if token := client.get_run(parent).data.tags.get(TOKEN):
        there += _runs(client, experiment, f"tags.`{TOKEN}` = '{token}'")
    wishes = set[str]()
    for run in sorted(there, key=lambda run: run.info.run_id not in ours):
        wish = run.data.tags.get(TOKEN)
        if wish in wishes:
            client.delete_run(run.info.run_id)
        elif wish:
            wishes.add(wish)


def remove_twin_versions(client: Any, name: str, run: str) -> None:
    """Delete the versions of a registered model that were made of one run, but for the first."""
    versions = [version for version in client.search_model_versions(f"name='{name}'") if version.run_id == run]
    for twin in sorted(versions, key=lambda version: int(version.version))[1:]:
        client.delete_model_version(name, twin.version)


def _runs(client: Any, experiment: str, which: str) -> Iterator[Any]:
    page = client.search_runs([experiment], which, max_results=_PAGE)
    yield from page
    while page.token:
        page = client.search_runs([experiment], which, max_results=_PAGE, page_token=page.token)
        yield from page
