"""Ray at the edge: the only room, with serve and jobs, that imports it."""

import os

# What Ray's daemons say of a death, over many lines of logs; a run says it itself, in one. Read when Ray is imported.
os.environ.setdefault(
    "RAY_DEDUP_LOGS_SKIP_REGEX",
    "^(Raylet is terminated|The node with node id: |A worker died or was killed while executing a task)",
)
