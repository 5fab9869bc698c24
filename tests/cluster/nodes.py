"""A Ray cluster of several nodes on this machine, in a process of its own: `started([{"num_cpus": 0}, …])`.

Run as a script it starts the nodes, prints the address, replaces nodes as its standard input says, and ends with that.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Nodes:
    """A cluster at work.

    Attributes:
        environment: of a shell in which RAY_ADDRESS is the cluster.
        process: that keeps it.
    """

    environment: dict[str, str]
    process: subprocess.Popen[str]

    def replace(self, number: int) -> None:
        """Kill a node, and start one like it: 1 is the first after the head. The number of the new one is the last."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        assert next(line for line in self.process.stdout if line.startswith("replaced"))


@contextmanager
def started(shapes: Sequence[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """The environment of a shell in which RAY_ADDRESS is a cluster of such nodes, the head first.

    Args:
        shapes: "num_cpus", "num_gpus" of each node; GPUs may be there by name only.
    """
    with nodes(shapes) as cluster:
        yield cluster.environment


@contextmanager
def nodes(
    shapes: Sequence[dict[str, Any]], hidden: Path | None = None, variables: Mapping[str, str] = {}
) -> Iterator[Nodes]:
    """The same, whose nodes can be replaced.

    Args:
        shapes: see :func:`started`.
        hidden: a folder in whose place all nodes see an empty one: they run in a mount namespace of their own.
        variables: of the environment, for the nodes and for who uses them.
    """
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    with tempfile.TemporaryDirectory(prefix="mn", ignore_cleanup_errors=True) as folder:
        own = {"RAY_TMPDIR": folder, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        own["RAY_worker_niceness"] = "0"  # as this machine's other tests: 15 starves beside them
        shell = {**clean, **own, **variables, "OMP_NUM_THREADS": "1", "RAY_DISABLE_IMPORT_WARNING": "1"}
        command = [sys.executable, __file__, json.dumps(list(shapes))]
        if hidden:
            command = [
                "unshare",
                "--mount",
                "sh",
                "-c",
                f"mount -t tmpfs none '{hidden}' && exec \"$@\"",
                "sh",
                *command,
            ]
        with subprocess.Popen(command, env=shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            try:
                address = next((line for line in process.stdout if line.startswith("address ")), "")
                assert address, "the cluster did not start"
                yield Nodes({**shell, "RAY_ADDRESS": address.split()[1]}, process)
            finally:
                process.stdin.close()
                process.wait(60)


def _main() -> None:
    from ray.cluster_utils import Cluster

    cluster, there = Cluster(), []

    def add(shape: dict[str, Any], tries: int = 3) -> None:
        nonlocal cluster
        try:
            node = cluster.add_node(**shape, node_ip_address="127.0.0.1", include_dashboard=False)
        except Exception:  # Ray has no class for it: a busy machine took more than the 30 s that Ray gives a node
            if tries == 1:
                raise
            cluster = cluster if there else Cluster()
            add(shape, tries - 1)
        else:
            there.append((node, shape))

    for shape in json.loads(sys.argv[1]):
        add(shape)
    cluster.wait_for_nodes()
    print("address", cluster.address, flush=True)
    for line in sys.stdin:
        node, shape = there.pop(int(line))
        cluster.remove_node(node, allow_graceful=False)
        add(shape)
        print("replaced", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    _main()
