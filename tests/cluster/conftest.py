"""A local Ray cluster for a module of tests; its workers can import `cluster_stages`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.config.recipe import ResourcesConfig

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    """Two CPUs, whatever the machine has."""
    from orchestrator.cluster.session import session

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([HERE, *filter(None, [os.environ.get("PYTHONPATH")])]))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("RAY_ADDRESS", raising=False)
        with session(ResourcesConfig(cpus=2)):
            yield
