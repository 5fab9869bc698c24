"""Kills at seeded random moments while a run or a sweep is at work on a cluster of several nodes.

    python tests/cluster/chaos.py [--scenario NAME] [--kills 12] [--seed 1]

A scenario runs undisturbed (without Ray where that makes the same: it is sooner there, and needs no turn of its own),
and with workers, controllers, nodes and its own command killed in turn; some also with data tasks, with a store that
nobody can reach for some seconds, or with a tracking server that is killed or hangs; some grow their mixture by an
expert at the end. In the end no finished step was made twice, the weights and the mixture are those of the undisturbed
run, the tracker has each metric of each step once and in order, and nothing is left behind.
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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml
from mlflow_server import Tracker, tracker
from nodes import Nodes, nodes

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # it is run as a script, too

from tests.unit.remote.server import BUCKET, S3, served  # noqa: E402

SHAPES = [{"num_cpus": 0}, {"num_cpus": 1}, {"num_cpus": 1}]
KINDS = ("worker", "controller", "node", "command")
STEPS = ("corpus", "tokenizer", "tokens", "blocks", "cache", "router", "mixture", "evaluation")
TITLES = {
    "worker": ("ray::RayTrainWorker",),
    "controller": ("ray::TrainController",),
    "task": tuple(f"ray::{step}" for step in STEPS),
}
OUTAGE = 5
"""Seconds that a server can't be reached."""
TRAINING = ("tokens=300000", "checkpoint_every=20", "eval_every=50")
SMALL = (
    *(f"{who}.training.{each}" for who in ("teacher", "experts") for each in TRAINING),
    *("corpus.max_documents=25", "tokenizer.vocab_size=512", "evaluation.max_blocks=4", "evaluation.bootstrap=100"),
    *("router.type={type: prompt, pieces: 200, bits: 12, calibration_pieces: 50}", "router.sequences_per_language=50"),
    *("tracking.type=none", "resources.threads=1", "resources.max_failures=1000"),
)
ADDED = "de"
PAIR = "corpus.languages={en: {source: miniwiki}, fr: {source: miniwiki}}"
THERE = "has an expert for"
"""Of the error that somebody gets who adds an expert again that is there."""
SHORT = tuple(f"{who}.training.tokens=60000" for who in ("teacher", "experts"))
SECONDS, PATIENCE = 300, 10


@dataclass(frozen=True)
class Scenario:
    """What is at work.

    Attributes:
        overrides: of the smoke recipe.
        sweep: fields of a sweep over it.
        until: the last steps; none: to the report.
        kinds: of what is killed.
        away: nodes do not see the runs, and reach a store.
        grows: another command then adds an expert to the mixture.
        tracked: by a server.
    """

    overrides: tuple[str, ...] = ("resources.slots=2",)
    sweep: dict[str, object] = field(default_factory=dict)
    until: str = ""
    kinds: tuple[str, ...] = KINDS
    away: bool = False
    grows: bool = False
    tracked: bool = False

    def commands(self, folder: Path, calm: bool = False) -> list[list[str]]:
        """What is typed to make it in a folder of runs, one after the other; `calm`: undisturbed."""
        adding = ["expert", "add", "smoke", "--language", ADDED, "--source", "miniwiki"]
        typed = [self._words(folder), *([adding] if self.grows else [])]
        where = ["--runs", str(folder), *(["--local"] if calm and self.is_of_one_process else [])]
        return [[sys.executable, "-m", "orchestrator.cli.main", *words, *where] for words in typed]

    @property
    def is_of_one_process(self) -> bool:
        return not self.away and not any(each.startswith("resources.strategy=") for each in self.overrides)

    def _words(self, folder: Path) -> list[str]:
        recipe = ROOT / "jobs" / "recipes" / "smoke.yaml"
        words, overrides = ["run", str(recipe), *SMALL, *self.overrides], {}
        if self.sweep:
            overrides = {key: yaml.safe_load(value) for key, value in (each.split("=", 1) for each in words[2:])}
            tree = {"name": "smoke", "base": str(recipe), "seeds": [1], "overrides": overrides, **self.sweep}
            file = folder.with_suffix(".yaml")
            file.write_text(yaml.safe_dump(tree), encoding="utf-8")
            words = ["sweep", str(file)]
        words += ["--until", self.until] if self.until else []
        if self.away:
            words.append(f"resources.storage=s3://{BUCKET}/{folder.name}")
        if self.tracked:
            words.append("tracking.type=mlflow")
        return words


def _zero(stage: int) -> Scenario:
    strategy = f"resources.strategy={{type: deepspeed, zero: {stage}}}"
    training = ("teacher.training.micro_batch=8", "teacher.training.tokens=900000")
    return Scenario((strategy, "resources.workers=2", "resources.slots=1", *training), until="teacher")


SCENARIOS = {
    "experts": Scenario(),
    **{f"zero{stage}": _zero(stage) for stage in range(4)},
    "joint": Scenario(("setup={type: moe_ce, combiner: gate}", "resources.slots=2"), until="experts"),
    "tasks": Scenario(("corpus.max_documents=300", "evaluation.max_blocks=64", *SHORT), kinds=("task",)),
    "away": Scenario(kinds=(*KINDS, "storage"), until="experts", away=True),
    "growth": Scenario((PAIR, "resources.slots=2", *SHORT), grows=True),
    "tracking": Scenario(kinds=("tracker", "worker", "hang", "command"), tracked=True),
    "all": Scenario((PAIR, "resources.slots=2", *SHORT), kinds=(*KINDS, "tracker"), grows=True, tracked=True),
    "sweep": Scenario(sweep={"configurations": {"slow": {}, "fast": {"experts.training.optimizer.lr": 4e-3}}}),
}


@dataclass
class Storm:
    """What happened.

    Attributes:
        kills: kind and seconds until the run worked on, of each.
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


class Work:
    """The commands, each of which is typed again whenever it was killed."""

    def __init__(self, scenario: Scenario, folder: Path, cluster: Nodes, servers: Servers, calm: bool = False) -> None:
        self.commands = scenario.commands(folder, calm)
        self.folder, self.cluster, self.servers = folder, cluster, servers
        folder.mkdir()
        self.log = folder.with_suffix(".txt")
        self.process = self._typed()

    def _typed(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.commands[0], cwd=ROOT, env=self.cluster.environment, stdout=log, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        """Kill the command, and type it again at once."""
        self.process.kill()
        self.process.wait()
        self.process = self._typed()

    def ended(self) -> bool:
        """Whether all have come to their end; the next one is typed.

        Raises:
            AssertionError: one ended with an error.
        """
        code = self.process.poll()
        if code == 2 and THERE in self.log.read_text()[-1000:]:  # it was killed when all was done
            code = 0
        assert not code, f"exit code {code}: {self.log.read_text()[-4000:]}"
        if code == 0 and len(self.commands) > 1:
            del self.commands[0]
            self.process = self._typed()
            return False
        return code == 0

    def progress(self) -> int:
        """Grows as trainings write metrics and steps end."""
        files = (*self.folder.glob("*/work/*/metrics.jsonl"), *self.folder.glob("*/stages/*/*/manifest.json"))
        return sum(_size(file) for file in files)

    def finish(self) -> None:
        """Wait until it ends."""
        end = time.monotonic() + SECONDS
        while not self.ended():
            assert time.monotonic() < end, f"does not end: {self.log.read_text()[-4000:]}"
            time.sleep(0.2)


def storm(scenario: Scenario, kills: int, seed: int, folder: Path) -> Storm:
    """Run a scenario undisturbed, and disturbed until so many kills have happened, in a folder; what happened."""
    draw, found = random.Random(seed), Storm()
    kinds = itertools.islice(itertools.cycle(scenario.kinds), seed % len(scenario.kinds), None)
    hidden = folder if scenario.away else None
    with _servers(scenario, folder) as servers, nodes(SHAPES, hidden, servers.environment) as cluster:
        calm = Work(scenario, folder / "calm", cluster, servers, calm=True)
        if scenario.tracked or not scenario.is_of_one_process:  # it needs the tracker or the cluster for itself
            calm.finish()
        while len(found.kills) < kills:
            work = Work(scenario, folder / f"storm-{len(found.kills)}", cluster, servers)
            _disturb(work, cluster, kinds, kills, draw, found)
            calm.finish()
            found.differs += [step for step, weights in _weights(calm).items() if _weights(work).get(step) != weights]
            found.differs += [] if _versions(work) == _versions(calm) else [f"versions {_versions(work)}"]
            found.untold += _untold(work)
            found.left += _left(work, cluster)
    return found


@dataclass(frozen=True)
class Servers:
    """Those that the scenario needs: a store, and one that tracks."""

    s3: S3 | None = None
    tracker: Tracker | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for each in (self.s3, self.tracker) if each for name, value in each.environment.items()}


@contextmanager
def _servers(scenario: Scenario, folder: Path) -> Iterator[Servers]:
    with ExitStack() as stack:
        s3 = stack.enter_context(served()) if scenario.away else None
        yield Servers(s3, stack.enter_context(tracker(folder / "tracker")) if scenario.tracked else None)


def _disturb(work: Work, cluster: Nodes, kinds: Iterator[str], kills: int, draw: random.Random, found: Storm) -> None:
    finished = dict[str, float]()
    while len(found.kills) < kills and _wait_until_at_work(work, draw.uniform(0.3, 3)):
        _note_finished(work, finished, found)
        killed = _kill(next(kinds), work, cluster, draw)
        found.kills.append((killed, _seconds_until_at_work(work)))
    work.finish()
    _note_finished(work, finished, found)


def _wait_until_at_work(work: Work, seconds: float) -> bool:
    """Let the work go on for a while from when it shows; False: it has ended."""
    _seconds_until_at_work(work)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not work.ended():
        time.sleep(0.05)
    return not work.ended()


def _seconds_until_at_work(work: Work) -> float:
    begin, before = time.monotonic(), work.progress()
    while not work.ended() and work.progress() <= before:
        assert time.monotonic() < begin + 300, f"stands still: {work.log.read_text()[-4000:]}"
        before = min(before, work.progress())  # a killed attempt's file was cut
        time.sleep(0.05)
    return time.monotonic() - begin


def _kill(kind: str, work: Work, cluster: Nodes, draw: random.Random) -> str:
    """Kill something of a kind, or the command where nothing of the kind comes; what was killed."""
    if kind == "node":
        cluster.replace(draw.choice((1, 2)))
        return kind
    if kind == "storage" and (s3 := work.servers.s3):
        s3.fails = 1.0
        time.sleep(OUTAGE)
        s3.fails = 0.0
        return kind
    if kind in ("tracker", "hang") and (server := work.servers.tracker):
        server.kill(OUTAGE) if kind == "tracker" else server.hang(OUTAGE)
        return kind
    end = time.monotonic() + PATIENCE
    while kind in TITLES and time.monotonic() < end and not work.ended():
        if there := list(_processes(cluster, TITLES[kind])):
            draw.choice(there).kill()
            return kind
        time.sleep(0.05)
    work.kill()
    return "command"


def _processes(cluster: Nodes, titles: tuple[str, ...]) -> Iterator[psutil.Process]:
    """Processes of the cluster by the beginning of their title, in the order of their numbers."""
    for process in sorted(psutil.Process(cluster.process.pid).children(recursive=True), key=lambda each: each.pid):
        with suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith(titles):
                yield process


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
    there = (process for titles in TITLES.values() for process in _processes(cluster, titles))
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


def _size(file: Path) -> int:
    with suppress(OSError):
        return file.stat().st_size
    return 0


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
