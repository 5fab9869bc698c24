"""Storage that not all nodes share, and a disk that fills: said at the moment, and what was made stays whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from nodes import nodes

HIDES = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
pytestmark = [
    *(pytest.mark.ray, pytest.mark.timeout(600)),
    pytest.mark.skipif(not HIDES, reason="a mount namespace needs rights that are not given here"),
]
HERE = Path(__file__).parent
SHAPES = [{"num_cpus": 0}, {"num_cpus": 1}, {"num_cpus": 1}]
RUN = (
    *(sys.executable, "-m", "orchestrator.cli.main", "run", "jobs/recipes/smoke.yaml", "tracking.type=none"),
    *("corpus.max_documents=25", "tokenizer.vocab_size=512", "teacher.training.tokens=1000000"),
    *("teacher.training.checkpoint_every=10", "resources.slots=2", "resources.threads=1", "--until", "teacher"),
)
FILLS = """
import shutil, subprocess, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from nodes import nodes
disk, command = Path(sys.argv[2]), sys.argv[3:]
with nodes([{"num_cpus": 0}, {"num_cpus": 1}, {"num_cpus": 1}]) as cluster:
    with subprocess.Popen(command, env=cluster.environment) as work:
        rows = lambda: [file.read_text().count("\\n") for file in disk.glob("*/work/teacher*/metrics.jsonl")]
        while work.poll() is None and max(rows(), default=0) < 5:
            time.sleep(0.1)
        (disk / "others").write_bytes(bytes(shutil.disk_usage(disk).free - 20000))
    print("first", work.returncode, flush=True)
    made = {file: file.stat().st_mtime for file in disk.glob("*/stages/*/*/manifest.json")}
    (disk / "others").unlink()
    print("second", subprocess.run(command, env=cluster.environment, check=False).returncode, flush=True)
    print("kept", all(file.stat().st_mtime == at for file, at in made.items()), len(made), flush=True)
"""


@pytest.mark.long
def test_a_folder_that_a_node_does_not_see_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with nodes(SHAPES, tmp_path) as cluster:
        command = [*RUN, "--runs", str(tmp_path / "runs")]
        told = subprocess.run(
            command, cwd=HERE.parents[1], env=cluster.environment, capture_output=True, text=True, check=False
        )
    assert told.returncode == 2
    assert "the run's folder is not there on node" in told.stdout + told.stderr
    assert "--runs /FOLDER" in told.stdout + told.stderr
    assert not list(tmp_path.glob("runs/*/stages/*/*/manifest.json"))


@pytest.mark.slow
def test_a_disk_that_fills_is_said_and_what_was_made_stays_whole(tmp_path: Path) -> None:
    script = [sys.executable, "-c", FILLS, str(HERE), str(tmp_path), *RUN, "--runs", str(tmp_path)]
    mounted = f"mount -t tmpfs -o size=100m none '{tmp_path}' && exec \"$@\""
    told = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounted, "sh", *script],
        cwd=HERE.parents[1], capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    first, _, second = told.partition("first 2\n")
    assert "teacher: failed: no space left on the disk" in first, told[-3000:]
    assert "Traceback" not in first
    assert "second 0\nkept True 4\n" in second
