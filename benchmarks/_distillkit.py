"""DistillKit's offline distillation, by classes of its own: its cache of the likeliest tokens, its trainer, its losses.

Its script asks vLLM for the teacher's probabilities. They are those of the teacher in transformers here, for vLLM wants
a GPU. All that comes after is DistillKit's: what is compressed and how, the files, reading them, the loss of a step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._distill_job import Job
from benchmarks._trainers import Clock, Examples, arguments, fast_tokenizer
from orchestrator.models import load_model

COMPRESSION = {
    "k": 128,
    "exact_k": 16,
    "exact_dtype": "bfloat16",
    "polynomial_terms": [0, 1, 2, 3, 4, "sqrt"],
    "normalize_t": True,
    "term_dtype": "float32",
    "residual_bins": [],
    "delta_encoding": False,
    "error_diffusion": False,
}
"""What its README recommends; `d`, the vocabulary, is added, and `k` is never more than that. `normalize_t` is in its
favour: without it polynomials of this degree are fitted in fp32 over ranks up to 111, and are far off."""
FILE_ROWS = 256
"""Of a file, as its script has it."""


@torch.no_grad()
def write_cache(job: Job, examples: Examples, out: Path) -> None:
    """What the teacher says of `examples`, in their order, into files below `out`."""
    from distillkit.compression import LogprobCompressor
    from distillkit.sample_common import StreamingParquetWriter, compressed_logit_schema

    compressor, schema = LogprobCompressor(_config(job).teacher.logprob_compressor), compressed_logit_schema()
    teacher = load_model(Path(job.folder) / "teacher" / "model").eval()
    with StreamingParquetWriter(str(out), schema, FILE_ROWS, queue_maxsize=2 * FILE_ROWS) as writer:
        for first in range(0, len(examples), job.batch):
            some = examples[first : first + job.batch]
            ids = torch.tensor([example["input_ids"] for example in some])
            with torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bf16"):
                logits = teacher(input_ids=ids, use_cache=False).logits
            packed = compressor.compress(logits.float().log_softmax(-1))
            columns = {name: bytes_.tolist() for name, bytes_ in packed.items()}
            for place, example in enumerate(some):
                writer.write({**example, **{name: rows[place] for name, rows in columns.items()}})


def new_trainer(
    job: Job, student: Any, optimizers: tuple[Any, Any], cache: Path, order: np.ndarray, clock: Clock
) -> Any:
    """Its trainer, over the rows of a cache in an order; `optimizers`: with a learning rate schedule."""
    from datasets import Dataset
    from distillkit.main import collate_packed_batch, create_signal_source
    from distillkit.trainer import DistillationTrainer
    from trl import SFTConfig

    config, vocab = _config(job), job.blocks.vocab_size
    files = sorted(map(str, cache.glob("*.parquet")), key=lambda name: (len(name), name))
    return DistillationTrainer(
        model=student,
        config=config,
        signal_source=create_signal_source(config, vocab),
        true_vocab_size=vocab,
        train_dataset=Dataset.from_parquet(files, cache_dir=str(cache / "read")).select(order),
        args=SFTConfig(dataset_kwargs={"skip_prepare_dataset": True}, **arguments(job)),
        data_collator=collate_packed_batch,
        processing_class=fast_tokenizer(job),
        optimizers=optimizers,
        callbacks=[clock],
    )


def _config(job: Job) -> Any:
    """Of a run: losses are its defaults, cross-entropy and KL at 0.5 each, over the tokens that were kept."""
    from distillkit.configuration import DistillationRunConfig

    vocab = job.blocks.vocab_size
    compression = {**COMPRESSION, "d": vocab, "k": min(int(str(COMPRESSION["k"])), vocab)}
    return DistillationRunConfig.model_validate(
        {
            "model": "student",
            "dataset": {"train_dataset": {"disk_path": job.folder}, "prepacked": True},
            "teacher": {"kind": "dataset", "logprob_compressor": compression},
            "sequence_length": job.blocks.context,
            "output_path": job.folder,
        }
    )
