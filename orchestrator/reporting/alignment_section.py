"""How the tokens of a teacher with another tokenizer lie beside those of the run."""

from __future__ import annotations

from orchestrator.reporting.document import Section
from orchestrator.reporting.formats import count, share
from orchestrator.reporting.run_results import RunResults
from orchestrator.reporting.tables import table

_NOTE = (
    "Soft loss: share of the experts' tokens after which the teacher says what follows. Met: those at whose end a "
    "token of the teacher's ends too. Agreed: share of these where both tokenizers begin the text that follows with "
    "tokens of one class. Perplexities are by the run's tokens and bits per byte by bytes, the teacher's too."
)


def alignments(results: RunResults) -> tuple[Section, ...]:
    """A section, where the teacher has another tokenizer than the run."""
    found = results.get("alignments", {})
    if not found:
        return ()
    rows = [
        (
            language,
            share(facts["said"]),
            share(facts["met"]),
            share(facts["agreed"], 2),
            count(facts["classes"]),
            count(facts["unlike_documents"]),
        )
        for language, facts in found.items()
    ]
    ours, theirs = next(iter(found.values()))["tokens"]
    sentence = (
        f"The teacher has a tokenizer of {count(theirs)} tokens, the experts one of {count(ours)}: their distributions "
        "are compared over classes of next texts, wherever both have read the same."
    )
    columns = ("language", "soft loss", "met", "agreed", "classes", "documents that differ")
    body = table("Tokens of the teacher beside those of the experts", columns, rows, note=_NOTE)
    return (Section("alignment", "Alignment", (sentence,), (body,)),)
