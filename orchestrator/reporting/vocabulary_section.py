"""What experts save that have the tokens of their language alone, and what it costs."""

from __future__ import annotations

from orchestrator.reporting.document import Section
from orchestrator.reporting.formats import compact, count, memory, share, significant
from orchestrator.reporting.run_results import RunResults
from orchestrator.reporting.tables import table

_NOTE = (
    "Kept: share of the training text's tokens that the expert has as they are. Longer: its tokens for a text, over "
    "the teacher's. Whole: the same architecture with every token of the teacher. Size: weights in fp32. Perplexities "
    "are by the teacher's tokens, whatever tokens a model reads the text in. Losses in training are over the kept "
    "tokens and one for all others, so between vocabularies only perplexity and bits per byte compare."
)


def vocabularies(results: RunResults) -> tuple[Section, ...]:
    """A section, where an expert has a vocabulary of its own."""
    cut = {name: facts for name, facts in results["models"].items() if facts.get("vocabulary")}
    if not cut:
        return ()
    rows, saved = [], []
    for language, facts in cut.items():
        own, ours = facts["vocabulary"], facts["parameters"]
        saved.append(ours / own["whole_parameters"])
        rows.append(
            (
                f"expert {language}",
                f"{count(own['tokens'])} of {count(own['of'])}",
                share(own["covered"]),
                significant(own["longer"], 4),
                compact(ours),
                compact(own["whole_parameters"]),
                share(saved[-1], 0),
                memory(4 * ours),
                significant(results["bits_per_byte"]["own_expert"][language], 4),
            )
        )
    sentence = f"Each expert has the tokens of its language, and {share(max(saved), 0)} of its parameters at most."
    columns = ("model", "tokens", "kept", "longer", "parameters", "whole", "share", "size", "bits per byte")
    body = table("Vocabularies of the experts", columns, rows, note=_NOTE)
    return (Section("vocabularies", "Vocabularies", (sentence,), (body,)),)
