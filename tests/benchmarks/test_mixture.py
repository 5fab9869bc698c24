from __future__ import annotations

import torch

from benchmarks._mixture import LANGUAGES, PaperWay, Shape, TrainingStep
from benchmarks.mixture import SETUPS, MixtureBench

SMALL = Shape(layers=1, width=16, heads=2, vocab=200, context=8, batch=8)


def test_every_comparison_has_a_row():
    rows = list(MixtureBench(inference=SMALL, training=SMALL, micro_batch=2, repeats=1).rows())
    assert len(rows) == len(SETUPS) + 1 + 2
    assert all(row.ours > 0 and row.baseline > 0 and row.unit == "tokens/s" for row in rows)
    assert sum("beside the paper's way" in row.case for row in rows) == 1


def test_a_batch_holds_as_many_sequences_of_each_language_with_tokens_of_its_own():
    ids, which = SMALL.sequences()
    assert [int((which == index).sum()) for index in range(4)] == [2] * 4
    assert ids.min() >= 0
    assert ids.max() < SMALL.vocab
    assert len({tuple(sorted(set(ids[which == index].ravel() // 50))) for index in range(4)}) > 1


@torch.inference_mode()
def test_the_papers_way_sends_the_whole_batch_to_one_expert():
    mixture, (ids, which) = SMALL.mixture("ple").eval(), SMALL.sequences()
    logits = PaperWay(mixture.experts, ids, which)(torch.from_numpy(ids))
    alike = [torch.allclose(logits, mixture.experts[name](torch.from_numpy(ids)).logits) for name in LANGUAGES]
    assert sum(alike) == 1


def test_a_step_trains_all_experts():
    mixture = SMALL.mixture("jeet")
    before = {name: parameter.clone() for name, parameter in mixture.named_parameters()}
    TrainingStep(mixture, SMALL, 2)()
    assert {mixture.part_of(n) for n, p in mixture.named_parameters() if not torch.equal(p, before[n])} == {
        *LANGUAGES,
        "shared",
    }
