"""What SECURITY.md says of files: none that is loaded can run code, and code that comes with a model never runs."""

import ast
import json
from pathlib import Path

import pytest

from orchestrator.errors import ArtifactError
from orchestrator.models.files import hidden_width

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for room in ("orchestrator", "serve", "jobs") for path in (ROOT / room).rglob("*.py"))
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec", "os.system"}
REQUIRED = {
    "np.load": {"allow_pickle": False},
    "AutoConfig.from_pretrained": {"trust_remote_code": False},
    "AutoModelForCausalLM.from_pretrained": {"trust_remote_code": False, "use_safetensors": True},
    "AutoTokenizer.from_pretrained": {"trust_remote_code": False},
}


def faults(source: str) -> list[str]:
    """Each import and call of a module that could run what a file holds."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
            found += [name for name in modules if name.split(".")[0] in UNSAFE_MODULES]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {key.arg: key.value.value for key in node.keywords if isinstance(key.value, ast.Constant)}
            missing = any(given.get(key, "") is not value for key, value in REQUIRED.get(name, {}).items())
            found += [name] if name in UNSAFE_CALLS or missing else []
    return found


@pytest.mark.parametrize("room", ["orchestrator", "serve", "jobs"])
def test_no_module_loads_what_could_run_code(room):
    sources = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in SOURCES}
    of_room = {name: text for name, text in sources.items() if name.startswith(f"{room}/")}
    assert of_room
    assert {name: found for name, text in of_room.items() if (found := faults(text))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "AutoConfig.from_pretrained(folder)",
        "AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)",
    ],
)
def test_each_of_these_would_be_found(source):
    assert faults(source)


def test_code_beside_a_model_neither_runs_nor_is_asked_about(tmp_path, monkeypatch):
    code = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "configuration_evil.py").write_text(code, encoding="utf-8")
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "configuration_evil.Evil"}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("builtins.input", lambda prompt: pytest.fail(f"asked: {prompt}"))
    with pytest.raises(ArtifactError):
        hidden_width(folder)
    assert list(tmp_path.rglob("ran")) == []
