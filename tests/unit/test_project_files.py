"""What goes stale without a word: paths, commands, versions and figures in the files around the code."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import typer
import yaml

import orchestrator
from orchestrator.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
TOML = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = TOML["project"]
WORKFLOW = ROOT / ".github/workflows/ci.yml"
FORMS = sorted(path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
DECISIONS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
OWN = [
    *(ROOT / name for name in ("SECURITY.md", "docs/releasing.md", "docs/decisions/README.md", "deploy/Dockerfile")),
    *(ROOT / ".github/pull_request_template.md", *FORMS, *DECISIONS),
]
PAGES = sorted(path for path in (ROOT / "docs").glob("*.md") if path not in OWN)
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.py"))
DOCUMENTS = [*OWN, *PAGES, *NOTEBOOKS, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs/results/README.md"]
FOLDERS = (
    *("orchestrator/", "serve/", "jobs/", "benchmarks/", "tests/", "docs/", "examples/", "findings/", "deploy/"),
    *(".ci/", ".github/"),
)
ROOT_FILE = re.compile(r"[\w.-]+\.(md|toml|yaml|cff)|constraints\.txt|Makefile")
PLACEHOLDER = re.compile(r"(?<![A-Z])(NAME|TAG|SUFFIX)(?![A-Z])|[*<{…]")
OF_A_RUN = {"mine.yaml", "notebook.yaml", "report.md"}
"""Files that a reader or a run makes."""
COMMANDS = typer.main.get_command(app)
PIN = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)


def names(paths):
    return [path.relative_to(ROOT).as_posix() for path in paths]


def code(path: Path) -> list[str]:
    """Code of a document: lines of its fenced blocks, and what stands between backticks; of other files each line."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".md":
        return [*text.splitlines(), *re.findall(r"`([^`\n]+)`", text)]
    fence = re.compile(r"^\s*```.*?^\s*```$", re.DOTALL | re.MULTILINE)
    blocks = [line for block in fence.findall(text) for line in block.splitlines()]
    return [*blocks, *re.findall(r"`([^`]+)`", fence.sub("", text))]


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


# --- documents


@pytest.mark.parametrize("document", names(DOCUMENTS))
def test_paths_that_a_document_names_exist(document):
    path = ROOT / document
    words = re.findall(r"`([^`\s]+)`", path.read_text(encoding="utf-8"))
    named = {word for word in words if word.startswith(FOLDERS) or ROOT_FILE.fullmatch(word)}
    checked = {word.partition(":")[0] for word in named if not PLACEHOLDER.search(word)} - OF_A_RUN
    assert [word for word in sorted(checked) if not (ROOT / word).exists()] == []


@pytest.mark.parametrize("document", names(DOCUMENTS))
def test_commands_and_options_that_a_document_names_exist(document):
    for line in code(ROOT / document):
        for name, rest in re.findall(r"(?<![\w-])mome ([a-z][a-z-]*)([^#|\n]*)", line):
            assert name in COMMANDS.commands, line
            group = COMMANDS.commands[name]
            known = [group, *getattr(group, "commands", {}).values()]
            options = {option for command in known for parameter in command.params for option in parameter.opts}
            assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= options | {"--help"}, line


@pytest.mark.parametrize("document", names(DOCUMENTS))
def test_targets_of_make_that_a_document_names_exist(document):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {name for line in code(ROOT / document) for name in re.findall(r"^make ([a-z-]+)", line.strip())}
    assert named <= targets


def test_decision_records_are_numbered_dated_and_listed():
    listed = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    assert [path.name[:3] for path in DECISIONS] == [f"{number:03}" for number in range(1, len(DECISIONS) + 1)]
    for path in DECISIONS:
        text = path.read_text(encoding="utf-8")
        assert re.match(rf"# {path.name[:3]}: .+\n\nDate: \d{{4}}-\d{{2}}\. Status: ", text), path
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"], path
        assert f"({path.name})" in listed


def test_private_parts_of_ray_are_those_that_the_decision_names():
    rows = re.findall(
        r"^\| `(ray[\w.]+)` \| `([\w/.]+)` \|", (ROOT / "docs/decisions/003-ray-at-the-edges.md").read_text(), re.M
    )
    used = set()
    for path in (path for room in ("orchestrator", "serve", "jobs") for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and re.match(r"ray\..*\b_|ray\._", str(node.module)):
                used.add((str(node.module), path.relative_to(ROOT).as_posix()))
    of_row = {use: [row for row in rows if use[0].startswith(row[0]) and use[1] == row[1]] for use in used}
    assert [use for use, found in of_row.items() if not found] == []
    assert {row for found in of_row.values() for row in found} == set(rows)


def test_limits_that_security_md_names_are_the_endpoints():
    pytest.importorskip("fastapi")
    from serve.api.limits import MAX_BODY_BYTES, MAX_CHOICES, MAX_PROMPT_CHARACTERS, MAX_PROMPTS

    text = " ".join((ROOT / "SECURITY.md").read_text(encoding="utf-8").split())
    sizes = f"{MAX_BODY_BYTES // 2**20} MiB, {MAX_PROMPTS} prompts of {MAX_PROMPT_CHARACTERS:,} characters"
    assert f"{sizes} and {MAX_CHOICES} answers" in text


def test_serving_listens_on_loopback_unless_it_is_told_otherwise():
    pytest.importorskip("ray")
    from serve.alone import serve_alone
    from serve.app import deploy

    config = yaml.safe_load((ROOT / "serve/config.yaml").read_text(encoding="utf-8"))
    assert config["http_options"]["host"] == "127.0.0.1"
    for function in (deploy, serve_alone):
        assert inspect.signature(function).parameters["host"].default == "127.0.0.1"
    assert "include_dashboard=False" in (ROOT / "orchestrator/cluster/session.py").read_text(encoding="utf-8")


# --- citation, forms, workflow


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == orchestrator.__version__
    assert citation["license"] == PROJECT["license"]
    assert [author["family-names"] for author in citation["references"][0]["authors"]] == [
        "Al-Maamari",
        "Ben Amor",
        "Granitzer",
    ]


@pytest.mark.parametrize("form", names(FORMS))
def test_a_form_is_one_that_can_be_filled_in(form):
    content = yaml.safe_load((ROOT / form).read_text(encoding="utf-8"))
    assert content.keys() <= {"name", "description", "title", "labels", "body"}
    assert content["name"]
    assert content["description"]
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in fields} <= {"textarea", "input", "dropdown", "checkboxes"}
    assert all(field["attributes"]["label"] for field in fields)
    assert len({field["id"] for field in fields}) == len({field["attributes"]["label"] for field in fields})
    assert len({field["id"] for field in fields}) == len(fields)


def test_the_workflow_runs_what_every_other_machine_runs():
    content = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    (job,) = content["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    assert job["timeout-minutes"] <= 120
    assert content["permissions"] == {"contents": "read"}
    (python,) = [step["with"] for step in job["steps"] if step.get("uses", "").startswith("actions/setup-python@")]
    assert version(python["python-version"]) == version(PROJECT["requires-python"])
    assert all((ROOT / name).is_file() for name in python["cache-dependency-path"].split())
    assert make_torch(job["env"]["TORCH"])[0] == f"torch=={PIN[1]}"
    assert "--index-url" in make_torch(job["env"]["TORCH"])


def make_torch(value: str) -> list[str]:
    """What the Makefile has pip install as torch."""
    command = ["make", "--silent", "torch", f"TORCH={value}"]
    return shlex.split(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("name", ["Makefile", "docs/index.md", "deploy/Dockerfile"])
def test_torch_is_the_version_that_the_constraints_name(name):
    found = re.findall(r"torch==([\d.]+)", (ROOT / name).read_text(encoding="utf-8"))
    assert set(found) <= {PIN[1]}
    assert make_torch("torch==9")[0] == "torch==9"


# --- the image


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile, without comments."""
    text = re.sub(r"^#.*\n", "", (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def test_the_image_copies_files_that_exist_and_are_let_in():
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    let_in = {line[1:] for line in patterns if line.startswith("!")}
    copies = [shlex.split(text) for name, text in instructions() if name == "COPY"]
    own = [word for words in copies if not any(w.startswith("--from=") for w in words) for word in words[:-1]]
    sources = {word for word in own if not word.startswith("--")}
    assert [source for source in sorted(sources) if not (ROOT / source).exists()] == []
    assert "*" in patterns
    assert {source.partition("/")[0] for source in sources} == let_in
    needed = {PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml", "constraints.txt"}
    assert needed <= sources
    shipped = TOML["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {pattern.removesuffix("*") for pattern in shipped} <= sources


def test_the_image_installs_extras_and_starts_a_command_that_exist():
    text = dict(instructions())
    (extras,) = re.findall(r'"\.\[([\w,-]+)\]"', "\n".join(arguments for _, arguments in instructions()))
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()
    (entry,) = yaml.safe_load(text["ENTRYPOINT"])
    assert entry in PROJECT["scripts"]


def test_the_image_is_of_the_python_that_ci_has_and_runs_as_nobody_special():
    stages = [arguments for name, arguments in instructions() if name == "FROM"]
    last = max(at for at, (name, _) in enumerate(instructions()) if name == "FROM")
    assert {version(stage) for stage in stages} == {version(PROJECT["requires-python"])}
    (user,) = [arguments for name, arguments in instructions()[last:] if name == "USER"]
    assert user.split(":")[0].isdigit()
    assert int(user.split(":")[0]) > 0


def test_the_image_compiles_the_operation_that_trainings_load():
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    (line,) = re.findall(r"from deepspeed\.\S+ import \w+", dockerfile)
    assert line in (ROOT / "orchestrator/training/strategies/deepspeed.py").read_text(encoding="utf-8")
