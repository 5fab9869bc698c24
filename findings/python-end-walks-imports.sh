#!/usr/bin/env bash
# A process that has imported torch 2.13, Ray 2.60 and MLflow 3.17 takes about a CPU second to end after its last line: CPython's garbage collector
# goes through all that the imports have made, and more than once. What `gc.freeze()` has set aside just before the end is left alone: the
# process ends in a small part of that time.
# Exit code: 0 the behaviour is as described, 1 it is another one, 2 the packages can't be installed.
set -euo pipefail
PYTHON=${PYTHON:-python3}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$PYTHON" -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 "ray[train,serve]==2.60.0" mlflow==3.17.2 || exit 2
"$tmp/venv/bin/python" - <<'PY'
import resource
import subprocess
import sys

ENDS = "import gc, sys, time; {imports}; {last}print(time.process_time())"


def end(imports, last=""):
    """CPU seconds from the last line to the end of a process: the least of three."""
    found = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        script = ENDS.format(imports=f"import {imports}", last=last)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append(used - float(done.stdout.split()[-1]))
    return min(found)


single = {name: end(name) for name in ("torch", "mlflow", "ray.train, ray.serve")}
together = end(", ".join(single))
frozen = end(", ".join(single), "gc.freeze(); ")
for name, seconds in single.items():
    print(f"{name}: {seconds:.2f} CPU s to end")
print(f"together: {together:.2f}; after gc.freeze(): {frozen:.2f}")
as_described = together > 3 * frozen
print("as described" if as_described else "the behaviour has changed")
sys.exit(0 if as_described else 1)
PY
