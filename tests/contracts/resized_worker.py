"""One training worker in its own process: goes on with a training until a step.

    python resized_worker.py OUT RANK WORLD_SIZE BLOCKS FOLDER STRATEGY STOP

FOLDER is the training, from worker count to worker count; STRATEGY is JSON; STOP is the optimizer step before which
the training is interrupted, 0 for its end. Rank 0 writes the rows of its metrics to OUT/results.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from strategy_worker import task, train

from orchestrator.config.base import PluginSpec
from orchestrator.environment import Environment


def main() -> None:
    out, blocks, folder = (Path(sys.argv[number]) for number in (1, 4, 5))
    rank, world_size, stop = (int(sys.argv[number]) for number in (2, 3, 7))
    torch.set_num_threads(1)
    spec = PluginSpec.model_validate(json.loads(sys.argv[6]))
    env = Environment(work=folder, strategy=spec, rank=rank, world_size=world_size)
    train(task(blocks, "fp32"), env, stop or None)
    if rank == 0:
        rows = (folder / "metrics.jsonl").read_text().splitlines()
        (out / "results.json").write_text(json.dumps([json.loads(row) for row in rows]))


if __name__ == "__main__":
    main()
    if torch.distributed.is_initialized():  # its threads may outlive the interpreter, which then aborts
        torch.distributed.destroy_process_group()
