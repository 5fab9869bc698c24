"""What the processes of an endpoint of one machine are started with."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytest.importorskip("ray")

_FAULTS = """
import resource
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(1 << 20)
before = faults()
for _ in range(100): bytearray(1 << 20)
print(faults() - before)
"""
"""Pages that are mapped for a hundred buffers of 1 MB, one after another: an engine's logits."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="these are settings of glibc")
def test_buffers_of_a_step_are_not_mapped_anew() -> None:
    code = "import subprocess, sys; from serve.deployments.lean import prepare; prepare(); "
    code += "subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    done = subprocess.run([sys.executable, "-c", code, _FAULTS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1000  # each buffer has 256 pages of 4 KiB
