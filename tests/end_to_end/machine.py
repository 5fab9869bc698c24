"""Runs of the smoke recipe on another machine, as far as one can be had here, and what two runs must have in common.

Texts, tokens, blocks, choices and fingerprints are equal; numbers that floating-point sums decide agree to 0.1 %
(the order of sums differs with the number of threads; on one kind of processor they agreed to a millionth).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden.summary import summarise

ROOT = Path(__file__).resolve().parents[2]
TINY = (  # as small as it goes
    *("tracking.type=none", "teacher.training.tokens=6_000", "experts.training.tokens=4_000"),
    *("router.type={type: prompt, pieces: 200, bits: 12, calibration_pieces: 50}", "evaluation.bootstrap=100"),
    *("evaluation.max_blocks=8", "router.sequences_per_language=50"),
)
TOLERANCE = 1e-3
RUN = "from orchestrator.cli.main import main; main()"
BEGIN = "import os, sys; os.umask(int(sys.argv.pop(1), 8)); os.sched_setaffinity(0, eval(sys.argv.pop(1))); "


def run(folder, *, recipe=TINY, umask="022", cores=None, overrides=(), **environment):
    """Run the smoke recipe; its fingerprints, and what every step made."""
    (folder / "home").mkdir(parents=True)
    cores = cores or os.sched_getaffinity(0)
    command = [sys.executable, "-c", BEGIN + RUN, umask, repr(set(cores)), "run", "jobs/recipes/smoke.yaml", *recipe]
    command += [*overrides, "--local", "--runs", str(folder / "runs")]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return made(folder / "runs" / "smoke")


def made(run_folder):
    steps = json.loads((run_folder / "artifacts.json").read_text(encoding="utf-8"))["steps"]
    return steps, {name: summarise(run_folder / place) for name, place in steps.items()}


def assert_same(one, other):
    assert one[0] == other[0], "fingerprints"
    for step, facts in one[1].items():
        theirs = other[1][step]
        if step not in ("evaluation", "report"):  # counts of a few blocks that two experts serve alike may differ
            assert facts["exact"] == theirs["exact"], step
        assert facts["values"] == pytest.approx(theirs["values"], rel=TOLERANCE, abs=TOLERANCE), step


def elsewhere(folder):
    """Another home, folder of temporary files, time zone, language of messages, order of hashes and of programs."""
    temporary = folder / ("tmp" * 30)  # longer than a socket's path may be
    temporary.mkdir(parents=True)
    return {
        "HOME": str(folder / "home"),
        "TMPDIR": str(temporary),
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "C",
        "LANG": "tr_TR.UTF-8",
        "LANGUAGE": "mn:de",
        "PYTHONHASHSEED": "7",
        "PATH": f"/usr/bin:/bin:{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
