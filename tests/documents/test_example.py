"""The example package: installed as somebody else's would be, and beside the command without installation."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "mome-example"


@pytest.fixture(scope="module")
def mome(tmp_path_factory):
    """Runs `mome` as its console script does, whose folder alone is on Python's path besides `path`."""
    script = tmp_path_factory.mktemp("bin") / "mome"
    script.write_text("from orchestrator.cli.main import main\n\nif __name__ == '__main__':\n    main()\n")

    def run(*arguments, cwd, path=()):
        places = os.pathsep.join([str(ROOT), *map(str, path)])
        clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        done = subprocess.run(
            [sys.executable, script, *map(str, arguments)],
            cwd=cwd,
            env={**clean, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        print(done.stdout[-4000:], done.stderr[-4000:])
        return done

    return run


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that the package is installed into, offline."""
    folder = tmp_path_factory.mktemp("installed")
    copy = tmp_path_factory.mktemp("source") / "mome-example"  # which a build leaves its traces in
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", folder, copy], check=True, timeout=280)
    assert (folder / "mome_example" / "losses.py").is_file()
    return folder


@pytest.fixture(scope="module")
def local(mome, installed, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    done = mome("run", EXAMPLE / "recipe.yaml", "--local", "--runs", runs, cwd=runs, path=[installed])
    assert done.returncode == 0, done.stderr
    return runs


def made_of(runs, step):
    current = json.loads((runs / "example" / "artifacts.json").read_text())["steps"]
    return json.loads((runs / "example" / current[step] / "manifest.json").read_text())


def test_a_recipe_of_installed_plugins_runs_to_its_report(local):
    assert (local / "example" / "report" / "index.html").is_file()
    corpus, expert = made_of(local, "corpus"), made_of(local, "expert-en")
    learned = expert["config"]["experts"]
    assert corpus["config"]["corpus"]["languages"]["en"]["source"] == {"type": "mome_example.sources:Docstrings"}
    assert learned["model"] == {"type": "mome_example.models:Llama", "layers": 1}
    assert learned["distillation"]["soft"] == {"type": "mome_example.losses:Hellinger", "temperature": 2.0}
    assert learned["distillation"]["schedule"] == {"type": "mome_example.schedules:HalfCosine", "end": 0.8}
    assert {"mome_example.models", "mome_example.losses", "mome_example.schedules"} <= set(expert["code"]["from"])


def test_an_edit_of_the_package_is_told_and_repeats_nothing(mome, local, installed):
    losses = installed / "mome_example" / "losses.py"
    losses.write_text(losses.read_text() + "# a comment\n")
    plan = mome("run", EXAMPLE / "recipe.yaml", "--local", "--plan", "--runs", local, cwd=local, path=[installed])
    assert plan.returncode == 0
    assert "the code of a plug-in differs" in " ".join(plan.stdout.split())


def test_its_own_tests_pass_in_the_folder_that_holds_it():
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(
        tests, cwd=EXAMPLE, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture
def beside(tmp_path):
    """A folder with the recipe and the package, where the command is typed."""
    shutil.copytree(EXAMPLE, tmp_path / "mine", ignore=shutil.ignore_patterns("__pycache__", "tests"))
    return tmp_path / "mine"


def test_processes_that_share_the_work_find_what_lies_in_the_folder(mome, beside):
    done = mome("run", "recipe.yaml", "--local", "--until", "corpus", "resources.cpus=2", cwd=beside)
    assert done.returncode == 0, done.stderr


@pytest.mark.ray
def test_workers_of_a_ray_session_find_what_lies_in_the_folder(mome, beside):
    done = mome("run", "recipe.yaml", "--until", "corpus", "resources.cpus=2", "tracking.type=none", cwd=beside)
    assert done.returncode == 0, done.stderr
    assert "mome_example.sources" in made_of(beside / "runs", "corpus")["code"]["from"]


@pytest.mark.ray
@pytest.mark.slow
def test_training_workers_of_a_ray_session_find_it_too(mome, beside):
    few = ("tracking.type=none", "teacher.training.tokens=4096", "experts.training.tokens=4096", "resources.cpus=2")
    done = mome("run", "recipe.yaml", "--until", "expert-en", *few, cwd=beside)
    assert done.returncode == 0, done.stderr
    assert "mome_example.losses" in made_of(beside / "runs", "expert-en")["code"]["from"]


def test_where_it_is_not_to_be_found_the_recipe_is_refused(mome, tmp_path):
    done = mome("run", EXAMPLE / "recipe.yaml", "--local", cwd=tmp_path)
    assert done.returncode == 2
    words = " ".join(done.stderr.split())
    assert "there is no module 'mome_example'" in words
    assert "install its package into this environment" in words
