#!/usr/bin/env bash
# fsspec's `pipe_file(path, data, mode="create")` is to write only where no file is. File systems that bring no conditional
# put of their own, local folders among them, look first and write then: two writers at once are both told that they have
# written, and the second one's bytes stay.
# Exit code: 0 the behaviour is as described, 1 it is another one, 2 the package can't be installed.
set -euo pipefail
PYTHON=${PYTHON:-python3}
VERSION=2026.9.0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$PYTHON" -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check "fsspec==$VERSION" || exit 2
cat >"$tmp/race.py" <<'PY'
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import fsspec

fs, folder, begin = fsspec.filesystem("file"), sys.argv[1], threading.Barrier(2)


def create(file: str, data: bytes) -> bool:
    begin.wait()
    try:
        fs.pipe_file(file, data, mode="create")
    except FileExistsError:
        return False
    return True


rounds, both = 3000, 0
with ThreadPoolExecutor(2) as pool:
    for number in range(rounds):
        both += all(pool.map(create, [f"{folder}/{number}"] * 2, [b"first", b"second"]))
print(f"fsspec {fsspec.__version__}: both writers of a file were told that they had created it in {both} of {rounds} rounds")
sys.exit(0 if both else 1)
PY
"$tmp/venv/bin/python" "$tmp/race.py" "$tmp"
