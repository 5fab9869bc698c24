"""Which plug-ins the laws hold, and trainings in processes of their own, as workers of a strategy are.

A module of laws says its `ROOM`, the `NAMES` of the plug-ins, and the `OPTIONS` that some of them need in a test. Each
of its tests that has an argument `name` runs with every plug-in: ours and the example's, or the one of ``--plugin``.
"""

from __future__ import annotations

import json
import runpy
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import plugins
from orchestrator.errors import PluginError
from tests.contracts.workers import start

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "mome-example"))

_REFUSED, _HELD = pytest.StashKey[str](), pytest.StashKey[bool]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marked = [mark for mark in metafunc.definition.iter_markers("parametrize") if "name" in mark.args[0]]
    if hasattr(metafunc.module, "ROOM") and "name" in metafunc.fixturenames and not marked:
        given = metafunc.config.getoption("plugin")
        if given:
            try:
                plugins.find(metafunc.module.ROOM, given)
            except PluginError as error:
                metafunc.config.stash[_REFUSED] = str(error)
                return metafunc.parametrize("name", [])
            metafunc.config.stash[_HELD] = True
            metafunc.module.OPTIONS[given] = json.loads(metafunc.config.getoption("options"))
        metafunc.parametrize("name", [given] if given else metafunc.module.NAMES)
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say here, in a line without pytest's own frames, that the plug-in can't be held, or that no law asks for one."""
    stash = config.stash
    if _REFUSED in stash:
        raise pytest.UsageError(stash[_REFUSED])
    if items and config.getoption("plugin") and _HELD not in stash:
        raise pytest.UsageError("no law of these files is one of a plug-in: give tests/contracts/test_ROOM.py")


@pytest.fixture(scope="session")
def make_blocks(tmp_path_factory) -> Callable[..., Path]:
    """Makes a blocks artifact of random tokens, each language's of another range."""

    def make(*languages: str) -> Path:
        folder: Path = tmp_path_factory.mktemp("blocks")
        rng = np.random.default_rng(0)
        splits: dict[str, Any] = {}
        for split, tokens in (("train", 1000), ("validation", 200)):
            (folder / split).mkdir()
            splits[split] = {}
            for index, language in enumerate(languages):
                words = 20 * (index + 1)
                rng.integers(3, words, tokens).astype(np.uint16).tofile(folder / split / f"{language}.bin")
                counts = {"documents": 1, "tokens": tokens, "characters": tokens, "bytes": tokens}
                splits[split][language] = {**counts, "blocks": (tokens - 1) // 16}
        about = {"context": 16, "dtype": "uint16", "vocab_size": 20 * len(languages) + 20, "languages": languages}
        (folder / "blocks.json").write_text(json.dumps({**about, "splits": splits}))
        return folder

    return make


@pytest.fixture(scope="session")
def compiled() -> None:
    """DeepSpeed's op for CPU workers is there."""
    plugins.create("training.strategies", "deepspeed", {}).prepare()


@pytest.fixture(scope="session")
def run_workers() -> Callable[..., Any]:
    """Runs ``SCRIPT OUT RANK WORLD_SIZE ARGUMENT …`` in `workers` processes; what they write to OUT/results.json.

    `here`: one worker that leaves nothing behind in its process runs in this one, which has torch imported.
    """

    def run(script: Path, out: Path, workers: int, arguments: Sequence[str], *, here: bool = False) -> Any:
        out.mkdir(parents=True, exist_ok=True)
        if here and workers == 1:
            with pytest.MonkeyPatch.context() as patch:
                patch.syspath_prepend(script.parent)
                patch.setattr(sys, "argv", [str(script), str(out), "0", "1", *arguments])
                runpy.run_path(str(script), run_name="__main__")
            return json.loads((out / "results.json").read_text())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(workers)}
        processes = []
        for rank in range(workers):
            joins = {**group, "RANK": str(rank), "LOCAL_RANK": str(rank)} if workers > 1 else {}
            told = [str(out), str(rank), str(workers), *arguments]
            processes.append(start(script, told, joins, out / f"output-{rank}.txt"))
        while any(process.is_alive() for process in processes):
            if any(process.exitcode for process in processes):  # the others would wait for it
                for process in processes:
                    process.kill()
            time.sleep(0.05)
        outputs = [path.read_text() for path in sorted(out.glob("output-*.txt"))]
        assert not any(process.exitcode for process in processes), "\n".join(outputs)[-4000:]
        return json.loads((out / "results.json").read_text())

    return run
