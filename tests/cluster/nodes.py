"""A Ray cluster of several nodes on this machine, in a process of its own: `started([{"num_cpus": 0}, …])`.

Run as a script it starts the nodes, prints the address, and ends with its standard input.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def started(shapes: Sequence[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """The environment of a shell in which RAY_ADDRESS is a cluster of such nodes, the head first.

    Args:
        shapes: "num_cpus", "num_gpus" of each node; GPUs may be there by name only.
    """
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    with tempfile.TemporaryDirectory(prefix="mn", ignore_cleanup_errors=True) as folder:
        own = {"RAY_TMPDIR": folder, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        own["RAY_worker_niceness"] = "0"  # as this machine's other tests: 15 starves beside them
        shell = {**clean, **own, "OMP_NUM_THREADS": "1", "RAY_DISABLE_IMPORT_WARNING": "1"}
        command = [sys.executable, __file__, json.dumps(list(shapes))]
        with subprocess.Popen(command, env=shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            try:
                address = next((line for line in process.stdout if line.startswith("address ")), "")
                assert address, "the cluster did not start"
                yield {**shell, "RAY_ADDRESS": address.split()[1]}
            finally:
                process.stdin.close()
                process.wait(60)


def _main() -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    for shape in json.loads(sys.argv[1]):
        cluster.add_node(**shape, node_ip_address="127.0.0.1", include_dashboard=False)
    print("address", cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    _main()
