"""What `mome bench distill` compares with: a Hugging Face Trainer with dense losses, and TRL's GKDTrainer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from transformers import PreTrainedTokenizerFast, Trainer, TrainerCallback, TrainingArguments

from benchmarks._distill_inputs import SPECIAL
from benchmarks._distill_job import LANGUAGE, OPTIMIZER, Job, Outcome
from orchestrator.models import load_model

Examples = list[dict[str, list[int]]]
"""Blocks [T + 1] of token ids."""


def train_with_trainer(job: Job) -> Outcome:
    """Train with the trainer that `job.way` names; same weights, blocks, order and optimizer as ours."""
    student, clock = job.new_student(), Clock()
    optimizer = OPTIMIZER.build(student)
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    blocks = job.blocks
    examples = [{"input_ids": blocks.block(LANGUAGE, index).tolist()} for index in range(blocks.count(LANGUAGE))]
    trainer = new_trainer(job, student, (optimizer, constant), examples, clock)
    trainer.train()
    return Outcome(clock.seconds, clock.cpu_seconds, trainer.seen)


def new_trainer(job: Job, student: Any, optimizers: tuple[Any, Any], examples: Examples, clock: Clock) -> Any:
    """The trainer that `job.way` names, over `examples` in their order; `optimizers`: with a learning rate schedule."""
    common = {
        "model": student,
        "data_collator": _collate,
        "optimizers": optimizers,
        "callbacks": [clock],
    }
    teacher = load_model(Path(job.folder) / "teacher" / "model")
    return (_gkd if job.way == "trl" else _dense)(job, teacher, examples, common)


def arguments(job: Job) -> dict[str, Any]:
    """Of a trainer of transformers, and of those that are made of it."""
    return {
        "output_dir": str(Path(job.folder) / "trainer"),
        "max_steps": job.steps,
        "per_device_train_batch_size": job.batch,
        "train_sampling_strategy": "sequential",
        "max_grad_norm": 1.0,
        "bf16": job.precision == "bf16",
        "gradient_checkpointing": False,
        "use_cpu": True,
        "remove_unused_columns": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
    }


def _dense(job: Job, teacher: Any, examples: Examples, common: dict[str, Any]) -> Any:
    options = TrainingArguments(**arguments(job))
    return _DenseTrainer(teacher, job.alpha, args=options, train_dataset=examples, **common)


class _DenseTrainer(Trainer):  # type: ignore[misc]
    """Cross-entropy and reverse KL from whole logits, as a distillation is commonly written."""

    def __init__(self, teacher: Any, alpha: float, **options: Any) -> None:
        super().__init__(**options)
        self.teacher = self.accelerator.prepare_model(teacher, evaluation_mode=True)
        self.alpha, self.seen = alpha, list[float]()

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], *_: Any, **__: Any) -> Tensor:
        ids_BT, labels_N = inputs["input_ids"][:, :-1], inputs["input_ids"][:, 1:].flatten()
        student_NV = model(input_ids=ids_BT, use_cache=False).logits.float().flatten(0, 1)
        with torch.no_grad():
            teacher_NV = self.teacher(input_ids=ids_BT, use_cache=False).logits.float().flatten(0, 1)
        hard = cross_entropy(student_NV, labels_N)
        # kl_div(log p, log q) is Σ q (log q − log p): reverse KL.
        log_p_NV, log_q_NV = log_softmax(teacher_NV, -1), log_softmax(student_NV, -1)
        soft = kl_div(log_p_NV, log_q_NV, log_target=True, reduction="batchmean")
        loss = self.alpha * hard + (1 - self.alpha) * soft
        self.seen.append(float(loss.detach()))
        return loss


def _gkd(job: Job, teacher: Any, examples: Examples, common: dict[str, Any]) -> Any:
    """GKDTrainer off-policy (lmbda 0), its beta at 1: reverse KL alone, for it has no cross-entropy."""
    from datasets import Dataset
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    class Recording(GKDTrainer):  # type: ignore[misc]
        seen: list[float]

        def compute_loss(self, *arguments: Any, **options: Any) -> Any:
            loss = super().compute_loss(*arguments, **options)
            self.seen.append(float(loss.detach()))
            return loss

    trainer = Recording(
        teacher_model=teacher,
        args=GKDConfig(lmbda=0.0, beta=1.0, temperature=1.0, **arguments(job)),
        train_dataset=Dataset.from_list(examples),
        processing_class=fast_tokenizer(job),
        **common,
    )
    trainer.seen = []
    return trainer


def fast_tokenizer(job: Job) -> PreTrainedTokenizerFast:
    """The tokenizer, as trainers of TRL take it."""
    unknown, begin, end = SPECIAL
    file = Path(job.folder) / "tokenizer" / "tokenizer.json"
    return PreTrainedTokenizerFast(
        tokenizer_file=str(file), unk_token=unknown, bos_token=begin, eos_token=end, pad_token=end
    )


def _collate(examples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Whole blocks [B, T + 1]: trainers shift labels themselves, and a first label is never one."""
    ids = torch.tensor([example["input_ids"] for example in examples])
    labels = ids.clone()
    labels[:, 0] = -100
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


class Clock(TrainerCallback):  # type: ignore[misc]
    """Seconds from the end of a step to the end of the next, and those of the process on all cores."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._last, self._cpu = time.perf_counter(), time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        now, cpu = time.perf_counter(), time.process_time()
        self.seconds.append(now - self._last)
        self.cpu_seconds.append(cpu - self._cpu)
        self._last, self._cpu = now, cpu
