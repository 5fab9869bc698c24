"""All files by which a cluster is started: they say the same, and what they name exists."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import typer

from orchestrator.cli.main import app
from orchestrator.config.loading import load_recipe
from tests.unit.deploy.described import (
    ALL,
    CLUSTERS,
    DOCKERFILE,
    KUBERAY,
    ROOT,
    SKYPILOT,
    load,
    manifests,
    name,
    shapes,
)

OUTSIDE = {
    *("apt-get", "base64", "chmod", "chown", "cloud-init", "docker", "export", "gcloud", "grep", "helm", "kubectl"),
    *("make", "mkdir", "mount", "mountpoint", "pip", "python", "python3", "rm", "sed", "set", "sky", "true", "umask"),
    *("useradd", "xargs"),
}
"""Commands of the system, of a cloud, and of Python."""
IMAGES = {"python:3.11-slim"}
"""Images that others make."""
OURS = {"mome", "ray"}
INSTALL = re.compile(r"pip install (?:-q )?-c (?:\S+/)?constraints\.txt (.*\[.*)$", re.MULTILINE)
PATHS = re.compile(
    r"(?<![\w./~$-])(?:(?:orchestrator|serve|jobs|deploy|docs|recipes)/[\w./-]+|[\w-]+\.(?:txt|toml|yaml|md))"
)
PAGE = ROOT / "docs/clusters.md"
every_file = pytest.mark.parametrize("path", [*ALL, PAGE], ids=name)


def lines(path: Path) -> list[str]:
    """A file's lines, with those that go on in the next one joined."""
    text = re.sub(r"\\\n#? *", "", path.read_text(encoding="utf-8"))
    return re.sub(r" &&\n +", " && ", text).splitlines()


def typed(path: Path) -> Iterator[str]:
    """What a file has typed: examples in its comments or blocks of code, and commands."""
    if path == PAGE:
        blocks = re.findall(r"```sh\n(.*?)```", "\n".join(lines(path)), re.DOTALL)
        yield from (line for block in blocks for line in block.splitlines())
        return
    yield from (line.lstrip("# ") for line in lines(path) if re.match(r"#   [(a-zA-Z]", line))
    if path == DOCKERFILE:
        yield from (line.removeprefix("RUN ") for line in lines(path) if line.startswith("RUN "))
    elif path in CLUSTERS:
        for key, commands in load(path).items():
            yield from commands if key.endswith("_commands") else ()
    elif path == SKYPILOT:
        yield from (line for key in ("setup", "run") for line in load(path)[key].splitlines())
    elif path in KUBERAY and "entrypoint" in load_all(path):
        yield load_all(path)["entrypoint"]


def load_all(path: Path) -> dict[str, object]:
    """The `spec` of the file's manifest; none of several manifests."""
    found = [document for document in manifests().values() if f"kind: {document['kind']}\n" in path.read_text()]
    return dict(found[0].get("spec", {})) if len(found) == 1 else {}


def simple(line: str) -> Iterator[list[str]]:
    """The commands of a line, each as words, without what is set before them and what comes after `#`."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("();|&"):
            if words:
                yield words
            words = []
        elif words or (word != "sudo" and not re.match(r"[A-Z_]+=", word)):
            words.append(word)


# --- one description


def test_every_description_has_one_shape() -> None:
    found = shapes()
    assert {head for head, _, _ in found.values()} == {(0, 0)}
    assert len({worker for _, worker, _ in found.values()}) == 1
    assert {most for path, (_, _, most) in found.items() if path != name(SKYPILOT)} == {2}


@pytest.mark.parametrize("path", [*CLUSTERS, SKYPILOT], ids=name)
def test_every_node_installs_what_the_image_installs(path: Path) -> None:
    def installed(text: str) -> list[str]:
        (found,) = INSTALL.findall(text)
        return [re.sub(r"^(\$HOME/mome|\.)(?=/|\[|$)", "", word) for word in shlex.split(found)]

    assert installed(path.read_text(encoding="utf-8")) == installed(DOCKERFILE.read_text(encoding="utf-8"))


@every_file
def test_runs_lie_where_all_nodes_see_them(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    mounted = re.findall(r"(?<!\w)/mnt/\w+", text)
    assert set(mounted) <= {"/mnt/mome"}
    if path in (*CLUSTERS, SKYPILOT) or "kind: Ray" in text:
        assert mounted
    for runs in re.findall(r"--runs (\S+)", text):
        assert runs == "/mnt/mome/runs"


def test_ports_are_the_same_everywhere() -> None:
    for path in CLUSTERS:
        head, worker = (load(path)[f"{kind}_start_ray_commands"][1] for kind in ("head", "worker"))
        assert "--port=6379" in head
        assert "$RAY_HEAD_IP:6379" in worker
    found = {document["kind"]: document for document in manifests().values()}
    container = found["RayCluster"]["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {
        "gcs-server": 6379,
        "dashboard": 8265,
    }
    assert load(ROOT / "serve/config.yaml")["http_options"]["port"] == 8000


# --- what they name


@every_file
def test_paths_that_it_names_exist(path: Path) -> None:
    made = {"notebook.yaml"}
    for word in PATHS.findall(path.read_text(encoding="utf-8")):
        beside = path.parent / word
        recipe = ROOT / "jobs" / word  # the image has the recipes in its home
        assert word in made or beside.exists() or (ROOT / word).exists() or recipe.exists(), word


@every_file
def test_commands_that_it_names_exist(path: Path) -> None:
    for line in typed(path):
        for words in simple(line):
            assert Path(words[0]).name in OUTSIDE | OURS, line


@every_file
def test_modules_and_recipes_that_it_names_exist(path: Path) -> None:
    for line in typed(path):
        for words in simple(line):
            for module in (words[at + 1] for at, word in enumerate(words) if word == "-m"):
                assert importlib.util.find_spec(module), line
            files = [word for word in words if re.search(r"recipes/\w+\.yaml$", word)]
            for file in files:
                at = ROOT / "jobs/recipes" / Path(file).name
                load_recipe(at, _overrides(words))


def _overrides(words: list[str]) -> list[str]:
    """What changes fields of a recipe: no values of options."""
    return [word for before, word in pairwise(words) if re.match(r"[a-z_.]+=", word) and before != "--price"]


@every_file
def test_options_and_subcommands_of_ray_and_mome_exist(path: Path) -> None:
    pytest.importorskip("ray")
    from ray.scripts.scripts import cli

    known = {"ray": cli, "mome": typer.main.get_command(app)}
    for words in (words for line in typed(path) for words in simple(line)):
        command = known.get(Path(words[0]).name)
        if command is None:
            continue
        at = 1
        while hasattr(command, "commands") and at < len(words) and not words[at].startswith("-"):
            assert words[at] in command.commands, words
            command, at = command.commands[words[at]], at + 1
        ours = words[at : words.index("--")] if "--" in words else words[at:]
        options = {opt for parameter in command.params for opt in parameter.opts}
        used = {word.partition("=")[0] for word in ours if word.startswith("--")}
        assert used <= options | {"--help"}, words


@every_file
def test_images_that_it_names_are_built_here_or_known(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path == DOCKERFILE:
        assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == IMAGES
    built = re.search(r"docker build -f deploy/Dockerfile -t (\S+)", DOCKERFILE.read_text(encoding="utf-8"))[1]
    assert set(re.findall(r"^ *image: (\S+)", text, re.MULTILINE)) <= {built}
    renamed = load(ROOT / "deploy/kuberay/image/kustomization.yaml")["images"]
    assert [image["name"] for image in renamed] == [built]


@every_file
def test_extras_that_it_installs_exist(path: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for named in re.findall(r"(?:mome|\.)\[([a-z,-]+)\]", path.read_text(encoding="utf-8")):
        assert set(named.split(",")) <= extras.keys()


def test_the_image_has_the_recipe_that_the_job_runs() -> None:
    """And the module; and the folder is the image's home."""
    copied = re.search(r"^COPY .*jobs/recipes (\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)[1]
    entrypoint = manifests()["RayJob/mome-paper"]["spec"]["entrypoint"]
    assert f" {copied}/paper.yaml " in entrypoint


def test_objects_that_the_page_names_are_made() -> None:
    """KubeRay names a run's job as the run, a cluster's token as the cluster, and its head's service after it."""
    kinds = {"job": "RayJob/{}", "secret": "RayCluster/{}", "service": "RayCluster/{}"}
    named = re.findall(r"(?<![\w/])(job|secret|service)/(mome[\w-]*)", PAGE.read_text(encoding="utf-8"))
    assert {kind for kind, _ in named} == kinds.keys()
    assert {kinds[kind].format(made.removesuffix("-head-svc")) for kind, made in named} <= manifests().keys()


def test_skypilot_reads_its_task() -> None:
    """Checked where skypilot is installed."""
    sky = pytest.importorskip("sky")
    task = sky.Task.from_yaml(str(SKYPILOT))
    assert [kind.use_spot for kind in task.resources] == [True, True, False, False]
    assert list(task.storage_mounts) == ["/mnt/mome"]
