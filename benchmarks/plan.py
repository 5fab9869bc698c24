"""How long a plan says that a run takes, beside what it takes: with no recorded speeds, and then with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from benchmarks._rows import Row, notice, single
from orchestrator.errors import ResourceError

_MAIN = "orchestrator.cli.main"
_PLAN = """
import sys
from orchestrator import plan
sys.tracebacklimit = 0
recipe, runs, local, *overrides = sys.argv[1:]
found = plan(recipe, *overrides, runs=runs, local=local == "local")
print(found.seconds)
"""


@dataclass(frozen=True)
class Plan:
    """A recipe, planned and run to its end from an empty folder, several times.

    The first plan knows nothing of the machine: the bench has a cache folder of its own. Each later one knows the runs
    before it.
    """

    recipe: str = "smoke"
    overrides: tuple[str, ...] = ()
    """Of the recipe, each as one types it."""
    repeats: Annotated[int, Field(ge=1)] = 3
    """Runs that a plan with recorded speeds comes before."""
    local: bool = False
    """Without Ray."""

    def rows(self) -> Iterator[Row]:
        """Seconds of each plan beside those that its command took, from when it was typed to its end.

        Raises:
            ResourceError: a command failed.
        """
        with tempfile.TemporaryDirectory(prefix="mome-bench-") as folder:
            environment = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache"}
            for number in range(self.repeats + 1):
                known = f"{number} run{'s' * (number > 1)} recorded" if number else "nothing recorded"
                runs = Path(folder) / str(number)
                yield self._row(f"{Path(self.recipe).stem}, {known}: told beside taken", runs, environment)

    def _row(self, case: str, runs: Path, environment: dict[str, str]) -> Row:
        where = "local" if self.local else ""
        planning = ["-c", _PLAN, self.recipe, str(runs), where, *self.overrides]
        told = json.loads(_output(planning, environment).splitlines()[-1])
        flags = ["--runs", str(runs), *(["--local"] if self.local else [])]
        begin = time.perf_counter()
        _output(["-m", _MAIN, "run", self.recipe, *self.overrides, *flags], environment)
        taken = time.perf_counter() - begin
        notice(f"{case}: {told:.1f} s, {taken:.1f} s; load average {os.getloadavg()[0]:.1f}")
        return single(case, "wall time", "s", told, taken)


def _output(words: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ResourceError(
            f"a command failed with code {done.returncode}",
            " ".join(words[:4] if words[0] == "-m" else ["a plan"]),
            f"its last words: {done.stderr[-2000:] or done.stdout[-2000:]}",
        )
    return done.stdout
