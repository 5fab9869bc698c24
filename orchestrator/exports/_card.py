"""The model card of an expert: what it is, what it learned from, how good it is, how to load it, what it can't do.

In Markdown with the front matter that the Hugging Face Hub reads. All figures are those of the run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.corpus.storage import read_tables, split_file
from orchestrator.errors import ArtifactError
from orchestrator.evaluation.mixtures import ALONE
from orchestrator.exports._measured import measured
from orchestrator.exports._source import Expert, Source

_NOT_SAID = "not said by the source"
_PAPER = (
    "Mixture of Modular Experts: Distilling Knowledge from a Multilingual Teacher into Specialized Modular Language "
    "Models (Al-Maamari, Ben Amor, Granitzer, 2024)"
)


def model_card(expert: Expert) -> str:
    """The card of an expert."""
    sections = (_front(expert), _about(expert), _data(expert.source), _training(expert), _results(expert), _use(expert))
    return "\n".join("\n".join(section) for section in sections)


def _front(expert: Expert) -> Iterator[str]:
    languages = expert.source.recipe["corpus"]["languages"]
    mine = [expert.name] if expert.name in languages else list(languages)
    names = ["code" if languages[name].get("kind") == "code" else name for name in mine]
    yield "---"
    yield f"language: {json.dumps(names)}"
    yield "library_name: transformers"
    yield "pipeline_tag: text-generation"
    yield "tags: [mome, distillation, language-expert]"
    yield "---"


def _about(expert: Expert) -> Iterator[str]:
    source, tokens = expert.source, expert.vocabulary
    facts = _json(source, f"expert-{expert.name}", "training.json") or {}
    yield f"\n# {source.name}: {expert.name}\n"
    if expert.name in source.recipe["corpus"]["languages"]:
        others = ", ".join(name for name in source.recipe["corpus"]["languages"] if name != expert.name) or "none"
        yield f"A small causal language model of one language, **{expert.name}**, distilled from a multilingual teacher"
        yield f"by MoME. It is one expert of a mixture; the others are of: {others}. A router chooses between them."
    else:
        yield "The common expert of a mixture of language experts, distilled from a multilingual teacher by MoME."
    if expert.has_common:
        yield "It learned to compute beside a common expert. Alone, as here, it answers otherwise than the mixture."
    if "parameters" in facts:
        yield f"It has {facts['parameters']:,} parameters, and a vocabulary of {tokens:,} tokens."


def _data(source: Source) -> Iterator[str]:
    """Sources, documents and licences of every language: the tokenizer and the teacher learned from all."""
    corpus = source.part("corpus")
    yield "\n## Data\n"
    yield "The teacher and the tokenizer learned from all languages, the expert from its own.\n"
    yield "| language | source | documents | licences, as the sources say |\n|---|---|---:|---|"
    for language, section in source.recipe["corpus"]["languages"].items():
        counts = _licences(source, language) if corpus else Counter()
        licences = "; ".join(f"{name} ({count:,})" for name, count in counts.most_common(5)) or _NOT_SAID
        more = f"; {len(counts) - 5} more" if len(counts) > 5 else ""
        yield f"| {language} | {_plugin(section['source'])} | {counts.total():,} | {licences}{more} |"
    yield "\nThe licence of this model is for whoever publishes it to choose, and to make fit these."


def _training(expert: Expert) -> Iterator[str]:
    recipe = expert.source.recipe
    distillation = recipe["experts"].get("distillation", {})
    yield "\n## Training\n"
    yield f"- Teacher: {_plugin(recipe['teacher']['model'])}" + _parameters(expert.source, "teacher")
    yield f"- Expert: {_plugin(recipe['experts']['model'])}"
    parts = [f"{key}: {_plugin(distillation[key])}" for key in ("soft", "hidden", "schedule") if distillation.get(key)]
    taught = distillation.get("soft") or distillation.get("hidden")
    yield "- Loss: next-token cross-entropy" + (f", and the teacher ({', '.join(parts)})" if taught else " alone")
    facts = _json(expert.source, f"expert-{expert.name}", "training.json") or {}
    if "tokens" in facts:
        yield f"- Tokens seen: {facts['tokens']:,}, in blocks of {facts['context']:,}"
    if facts.get("best_validation_loss") is not None:
        yield f"- Validation loss: {facts['best_validation_loss']:.4f} nats a token"


def _results(expert: Expert) -> Iterator[str]:
    """Perplexity and bits per byte of the expert and of the teacher, on held-out text."""
    found = measured(expert.source)
    name = f"{ALONE}{expert.name}" if expert.has_common else expert.name
    languages = [language for model, language in found if model == "teacher"]
    if (name, next(iter(languages), "")) not in found:
        return
    about = _json(expert.source, "evaluation", "evaluation.json") or {}
    yield "\n## Results\n"
    where = f"{about['split']} split, blocks of {about['context']} tokens"
    yield f"On held-out text ({where}), with {about['confidence']:.0%} intervals over works:\n"
    yield "| text | perplexity | bits per byte | teacher's perplexity | teacher's bits per byte |"
    yield "|---|---:|---:|---:|---:|"
    for language in languages:
        both = [cell for model in (name, "teacher") for cell in found[model, language].cells()]
        yield f"| {' | '.join([language, *both])} |"
    yield "\nPerplexities of different tokenizers can't be compared; bits per byte can."
    own = found.get((name, expert.name))
    if own and own.perplexity > expert.vocabulary / 2:
        yield "\n**The expert is at the level of guessing: it has learned next to nothing.**"


def _use(expert: Expert) -> Iterator[str]:
    config = json.loads((expert.folder / "config.json").read_text(encoding="utf-8"))
    context = config.get("n_positions", config.get("max_position_embeddings"))
    yield "\n## How to load it\n"
    yield "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n"
    yield 'tokenizer = AutoTokenizer.from_pretrained("FOLDER")\nmodel = AutoModelForCausalLM.from_pretrained("FOLDER")'
    yield 'inputs = tokenizer("Text to go on from", return_tensors="pt")'
    yield "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=32)[0], skip_special_tokens=True))\n```\n"
    yield "Transformers 4.44 to 5 give the same logits. The tokenizer puts the begin token in front: without it,"
    yield "answers are worse. Text that spells a special token is encoded as text."
    yield "\n## Limits\n"
    yield f"- It sees {context:,} tokens at once, prompt and answer together."
    yield "- It continues text. It was not taught to follow instructions, and not to refuse anything."
    yield "- It repeats what its data says, with its errors and prejudices. Nobody has filtered it for that."
    yield "- Its figures are of text like its training data. Other text, and other languages, are worse."
    yield f"\nThe method: {_PAPER}."


def _licences(source: Source, language: str) -> Counter[str]:
    """Documents by licence, of all splits."""
    counts: Counter[str] = Counter()
    corpus = source.part("corpus")
    assert corpus is not None
    for split in ("train", "validation", "test"):
        for table in read_tables(split_file(corpus.folder, split, language), ("licence",)):
            counts.update(licence or _NOT_SAID for licence in table.column("licence").to_pylist())
    return counts


def _json(source: Source, step: str, name: str) -> dict[str, Any] | None:
    """A JSON file of a step; None: the run has none."""
    part = source.part(step)
    if part is None or not (part.folder / name).is_file():
        return None
    try:
        found: dict[str, Any] = json.loads((part.folder / name).read_text(encoding="utf-8"))
    except ValueError:
        raise ArtifactError(
            "a result can't be read", str(part.folder / name), f"make it again: --force {step}"
        ) from None
    return found


def _parameters(source: Source, step: str) -> str:
    facts = _json(source, step, "training.json") or {}
    return f", {facts['parameters']:,} parameters" if "parameters" in facts else ""


def _plugin(section: Any) -> str:
    """A plug-in with its options, in words; nothing of this machine: of a path, its last part."""
    if not isinstance(section, Mapping):
        return str(section)
    kind = str(section.get("type", ""))
    options = {key: value for key, value in section.items() if key not in ("type", "options")}
    options |= dict(section.get("options") or {})
    told = ", ".join(f"{key} {_short(value)}" for key, value in options.items() if value is not None)
    return f"{kind} ({told})" if told else kind


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value.rstrip("/").rpartition("/")[2] if value.startswith(("/", ".", "~")) else value
    if isinstance(value, Mapping):
        return _plugin(value)
    if isinstance(value, Sequence):
        return ", ".join(map(_short, value))
    return str(value)
