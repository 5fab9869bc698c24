"""Tasks for lm-evaluation-harness: the run's own test text, scored in bits per byte."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from orchestrator.artifacts import write_json
from orchestrator.corpus.storage import read_texts
from orchestrator.errors import ArtifactError, ModelError
from orchestrator.exports._base import Export
from orchestrator.exports._rolling import bits_per_byte
from orchestrator.exports._source import Expert, Source
from orchestrator.exports.hf import write_folder
from orchestrator.models.zoo._base import quiet

REFERENCE, CODE = "reference.json", "documents.py"
NEAR = 1e-3
"""Bits per byte between lm-evaluation-harness and MoME at which both count the same."""
ARGUMENTS = "add_bos_token=False,dtype=float32"
"""The harness puts the begin token in front of each document itself; the tokenizer would add another."""
_READ = '''"""The documents of a task; lm-evaluation-harness calls `read`."""

import json
from pathlib import Path

import datasets


def read(language, **_):
    lines = (Path(__file__).parent / f"{language}.jsonl").read_text(encoding="utf-8").splitlines()
    return {"test": datasets.Dataset.from_list([json.loads(line) for line in lines])}
'''


@dataclass(frozen=True)
class Harness(Export):
    """A task for each expert's language: whole documents of the test split, in bits per byte, and what MoME gets.

    `reference.json` has MoME's own figures, of each expert on the text of its language. The report's are of packed
    blocks, which no harness reads; these are of documents.
    """

    tool: ClassVar[str] = "lm-evaluation-harness"
    checked_by: ClassVar[tuple[str, ...]] = ("lm_eval", "datasets", "accelerate")

    documents: Annotated[int, Field(ge=1)] = 200
    """Documents of a language, at most."""

    def write(self, source: Source, out: Path) -> None:
        """See :class:`Export`."""
        reference = {}
        for name, expert in _scored(source).items():
            documents = self._documents(source, name)
            lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in documents]
            (out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
            (out / f"{task_name(source, name)}.yaml").write_text(_task(source, name), encoding="utf-8")
            reference[name] = bits_per_byte(expert, expert.alone(self.tool), documents)
        (out / CODE).write_text(_READ, encoding="utf-8")
        write_json(out / REFERENCE, {"bits_per_byte": reference, "tasks": {n: task_name(source, n) for n in reference}})
        (out / "README.md").write_text(_readme(source, reference), encoding="utf-8")

    def check(self, source: Source, folder: Path, count: int) -> Mapping[str, Any]:  # noqa: ARG002
        """See :class:`Export`: bits per byte of all documents of each task."""
        from importlib.metadata import version

        reference = json.loads((folder / REFERENCE).read_text(encoding="utf-8"))["bits_per_byte"]
        found: dict[str, Any] = {"tool": f"{self.tool} {version('lm_eval')}"}
        for name, expert in _scored(source).items():
            theirs = _evaluated(expert, folder, task_name(source, name))
            if abs(theirs - reference[name]) > NEAR:
                what = f"{self.tool} gives {theirs:.4f} bits per byte for {name}, and MoME {reference[name]:.4f}"
                raise ModelError(what, "mome export --check", "take another version of the harness")
            found |= {
                f"{name}, bits per byte": round(theirs, 6),
                f"{name}, apart": float(f"{theirs - reference[name]:.1e}"),
            }
        return found

    def _documents(self, source: Source, language: str) -> list[str]:
        """Of the test split, those that are not empty.

        Raises:
            ArtifactError: there are none.
        """
        corpus = source.part("corpus")
        texts = iter(()) if corpus is None else read_texts(corpus.folder, "test", language)
        found = list(islice((text for text in texts if text.strip()), self.documents))
        if not found:
            raise ArtifactError(f"the run has no test text of {language!r}", str(source.root), "take another expert")
        return found


def task_name(source: Source, language: str) -> str:
    """What `--tasks` names."""
    return re.sub(r"\W+", "_", f"{source.name}_{language}")


def _scored(source: Source) -> dict[str, Expert]:
    """Experts that have a language of their own."""
    languages = source.recipe["corpus"]["languages"]
    return {name: expert for name, expert in source.experts.items() if name in languages}


def _task(source: Source, language: str) -> str:
    """A task's YAML. `text` is a field of its documents: a template would read some texts as Python's."""
    lines = [
        f"task: {task_name(source, language)}",
        "output_type: loglikelihood_rolling",
        f"custom_dataset: !function {Path(CODE).stem}.read",
        f"dataset_kwargs: {{language: {json.dumps(language)}}}",
        "test_split: test",
        'doc_to_text: ""',
        "doc_to_target: text",
        "metric_list:",
        *(f"  - metric: {metric}" for metric in ("bits_per_byte", "byte_perplexity", "word_perplexity")),
        "metadata: {version: 1}",
    ]
    return "\n".join(lines) + "\n"


def _readme(source: Source, reference: Mapping[str, float]) -> str:
    rows = "".join(f"| {name} | {task_name(source, name)} | {bits:.4f} |\n" for name, bits in reference.items())
    first = next(iter(reference))
    return (
        f"# Test text of {source.name}, for lm-evaluation-harness\n\n"
        f"```sh\nmome export {source.name} --to hf --expert {first} --out {first}\n"
        f"lm_eval run --model hf --model_args pretrained={first},{ARGUMENTS} --include_path . "
        f"--tasks {task_name(source, first)}\n```\n\n"
        "`add_bos_token=False` matters: the harness puts the begin token in front of each document itself, and the\n"
        "tokenizer would add a second one.\n\n"
        f"Bits per byte that MoME gets, of each expert on the text of its language:\n\n"
        f"| expert | task | bits per byte |\n|---|---|---:|\n{rows}"
    )


def _evaluated(expert: Expert, folder: Path, task: str) -> float:
    """Bits per byte that the harness gives an expert."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    with tempfile.TemporaryDirectory() as scratch, quiet(), redirect_stderr(StringIO()):
        write_folder(expert, Path(scratch), Harness.tool)
        found = simple_evaluate(
            model="hf",
            model_args=f"pretrained={scratch},{ARGUMENTS}",
            tasks=[task],
            device="cpu",
            batch_size=8,
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            bootstrap_iters=0,
            log_samples=False,
        )
    return float(found["results"][task]["bits_per_byte,none"])
