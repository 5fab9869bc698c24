"""Kills at seeded random moments while a run or a sweep is at work on a cluster of several nodes.

    python tests/cluster/chaos.py [--scenario NAME] [--kills 12] [--seed 1]

A scenario runs undisturbed first (without Ray where that makes the same: it is sooner there), and then with workers,
controllers, nodes and its own command killed in turn; some also with data tasks, with a store that nobody can reach
for some seconds, or with a tracking server that is killed or hangs; some grow their mixture by an expert at the end.
In the end no finished step was made twice, the weights and the mixture are those of the undisturbed run, the tracker
has each metric of each step once and in order, and nothing is left behind.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # it is run as a script, too

import psutil
from chaos_kills import TITLES, chosen, kill, processes
from chaos_scenarios import LATER, ROOT, SCENARIOS, THERE, Scenario
from chaos_work import Work, servers
from nodes import Nodes, nodes

SHAPES = [{"num_cpus": 0}, {"num_cpus": 1}, {"num_cpus": 1}]


@dataclass
class Storm:
    """What happened.

    Attributes:
        kills: kind and seconds until what it hit worked on, of each.
        remade: steps that were finished twice.
        differs: steps whose weights are not those of the undisturbed run, or versions of its mixture.
        left: processes, placement groups and files that stayed.
        untold: what the tracker lacks, or has twice.
    """

    kills: list[tuple[str, float]] = field(default_factory=list)
    remade: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> dict[str, list[str]]:
        """What should not have happened, by kind; those of which nothing did are left out."""
        found = {"made twice": self.remade, "differs": self.differs, "left": self.left, "not told": self.untold}
        return {kind: each for kind, each in found.items() if each}

    def __str__(self) -> str:
        seconds = sorted(seconds for _, seconds in self.kills)
        middle, kinds = seconds[len(seconds) // 2], [kind for kind, _ in self.kills]
        told = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
        back = f"at work again after {middle:.1f} s in the median, {seconds[-1]:.1f} s at most"
        return f"{len(kinds)} kills ({told}), {back}; wrong: {self.wrong or 'nothing'}"


def storm(scenario: Scenario, kills: int, seed: int, folder: Path) -> Storm:
    """Run a scenario undisturbed, and disturbed until so many kills have happened, in a folder; what happened."""
    draw, found = random.Random(seed), Storm()
    kinds = itertools.islice(itertools.cycle(scenario.kinds), seed % len(scenario.kinds), None)
    hidden, wanted = folder if scenario.away else None, list(itertools.islice(kinds, kills))
    with servers(scenario, folder) as beside, nodes(SHAPES, hidden, beside.environment) as cluster:
        prepared = folder / "prepared" if scenario.prepared else None
        if prepared:
            Work(replace(scenario, grows=False), prepared, cluster, beside, calm=True).finish()
        calm = Work(scenario, folder / "calm", cluster, beside, True, prepared)
        if (
            scenario.tracked or not scenario.is_of_one_process
        ):  # else it computes while the storm waits for what it killed
            calm.finish()
        while wanted:
            work = Work(scenario, folder / f"storm-{len(found.kills)}", cluster, beside, False, prepared)
            _disturb(work, cluster, wanted, draw, found)
            calm.finish()
            found.differs += [step for step, weights in _weights(calm).items() if _weights(work).get(step) != weights]
            found.differs += [] if _versions(work) == _versions(calm) else [f"versions {_versions(work)}"]
            found.untold += _untold(work)
            found.left += _left(work, cluster)
    return found


def _disturb(work: Work, cluster: Nodes, wanted: list[str], draw: random.Random, found: Storm) -> None:
    """Kill what is wanted, which is taken off the list, until all is killed or the work has ended."""
    finished = dict[str, float]()
    while wanted and _wait_until_at_work(work, draw.uniform(0.3, 3)):
        _note_finished(work, finished, found)
        workers = list(processes(cluster, TITLES["worker"]))
        killed, since = kill(chosen(wanted, work, cluster), work, cluster, draw)
        _wait_for_ends(killed, workers)
        _wait_for_progress(work, work.trainings() if killed in ("worker", "controller", "node") else {})
        found.kills.append((killed, time.monotonic() - since))
        print(f"{killed}: at work again after {time.monotonic() - since:.1f} s", flush=True)
    work.finish()
    _note_finished(work, finished, found)


def _wait_until_at_work(work: Work, seconds: float) -> bool:
    """Let the work go on for a while from when it shows; False: it has ended."""
    _wait_for_progress(work)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not work.ended():
        time.sleep(0.05)
    return not work.ended()


def _wait_for_ends(killed: str, workers: list[psutil.Process]) -> None:
    """Until workers have noticed that what directs them was killed: they go on for a moment."""
    if killed in ("command", "commit"):
        psutil.wait_procs(workers, timeout=60)
    end = time.monotonic() + 5
    while killed == "controller" and workers and time.monotonic() < end and not psutil.wait_procs(workers, 0.05)[0]:
        pass


def _wait_for_progress(work: Work, trainings: Mapping[Path, int] = {}) -> None:
    """Until each training that was at work has written more, or has ended; without any, until something is written."""
    begin, before, waiting = time.monotonic(), work.progress(), dict(trainings)
    while not work.ended() and (waiting if trainings else work.progress() <= before):
        assert time.monotonic() < begin + 300, f"stands still: {waiting or ''} {work.log.read_text()[-4000:]}"
        before, there = min(before, work.progress()), work.trainings()  # a killed attempt's file was cut
        least = {folder: min(size, there[folder]) for folder, size in waiting.items() if folder in there}
        waiting = {folder: size for folder, size in least.items() if there[folder] <= size}
        time.sleep(0.05)


def _note_finished(work: Work, finished: dict[str, float], found: Storm) -> None:
    for manifest in work.folder.glob("*/stages/*/*/manifest.json"):
        made = manifest.stat().st_mtime
        if finished.setdefault(str(manifest.parent), made) != made:
            found.remade.append(manifest.parent.parent.name)


def _weights(work: Work) -> dict[str, str]:
    """Digests of what was trained, by step or trial and fingerprint."""
    files = work.folder.glob("*/stages/*/*/training.json")
    return {"/".join(file.parts[-3:-1]): json.loads(file.read_text())["weights_sha256"] for file in files}


def _versions(work: Work) -> list[tuple[str, list[str]]]:
    """What made each version of the mixture, and fingerprints of its parts."""
    files = sorted(work.folder.glob("*/mixtures/*/version.json"))
    about = [json.loads(file.read_text()) for file in files]
    return [(each["action"], sorted(part["fingerprint"] for part in each["parts"].values())) for each in about]


def _untold(work: Work) -> list[str]:
    """What the tracker lacks. A command that was killed when its version was there can't be typed again to tell."""
    if work.servers.tracker is None or THERE in work.log.read_text()[-1000:]:
        return []
    if LATER in work.log.read_text()[-1000:]:  # the tracker was too slow for the time that a command has for it
        work.again()
    return work.servers.tracker.lacks(work.folder / "smoke")


def _left(work: Work, cluster: Nodes) -> list[str]:
    """What is still there a moment after the end."""
    end = time.monotonic() + 15
    while time.monotonic() < end and (left := [*_files_left(work), *_ray_left(cluster)]):
        time.sleep(0.5)
    return left


def _files_left(work: Work) -> list[str]:
    hidden = [path.name for path in work.folder.glob("*/stages/*/.*")]
    return hidden + [path.name for path in work.folder.glob("*/work/*") if path.is_dir()]


def _ray_left(cluster: Nodes) -> list[str]:
    there = (process for titles in TITLES.values() for process in processes(cluster, titles))
    left = [f"{process.cmdline()[0]}, {time.time() - process.create_time():.0f} s old" for process in there]
    groups = (
        "import json; from ray.util import placement_group_table as table; "
        "from orchestrator.cluster.session import session; "
        "from orchestrator.config.recipe import ResourcesConfig as Resources\n"
        "with session(Resources()): print(json.dumps([facts['state'] for facts in table().values()]))"
    )
    command = [sys.executable, "-c", groups]
    asked = subprocess.run(
        command, cwd=ROOT, env=cluster.environment, capture_output=True, text=True, check=True, timeout=60
    )
    return left + [state for state in json.loads(asked.stdout) if state != "REMOVED"]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=SCENARIOS, default="experts")
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="chaos", ignore_cleanup_errors=True) as folder:
        found = storm(SCENARIOS[options.scenario], options.kills, options.seed, Path(folder))
    print(found)
    if found.wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
