#!/usr/bin/env bash
# safetensors 0.8 writes through a temporary file of its own: the file has mode 0600 whatever the umask, so that another
# user or a container can't read it, and a link of that name is replaced instead of written through. 0.7 obeyed the umask.
# Exit code: 0 the behaviour is as described, 1 it is another one, 2 the packages can't be installed.
set -euo pipefail
PYTHON=${PYTHON:-python3}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for version in 0.7.0 0.8.0; do
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --target "$tmp/$version" "safetensors==$version" || exit 2
done
"$PYTHON" -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 || exit 2
cat >"$tmp/write.py" <<'PY'
import os, sys
from importlib.metadata import version
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file
os.umask(0o022)
root = Path(sys.argv[1])
root.mkdir()
save_file({"a": np.zeros(3, np.float32)}, root / "new.safetensors")
(root / "elsewhere").write_bytes(b"")
(root / "link.safetensors").symlink_to("elsewhere")
save_file({"a": np.zeros(3, np.float32)}, root / "link.safetensors")
mode = (root / "new.safetensors").stat().st_mode & 0o777
kept = (root / "link.safetensors").is_symlink()
print(f"safetensors {version('safetensors')}, umask 022: mode {mode:04o}, a link is {'kept' if kept else 'replaced'}")
(root / "found").write_text(f"{mode:04o} {'kept' if kept else 'replaced'}")
PY
for version in 0.7.0 0.8.0; do
  PYTHONPATH="$tmp/$version" "$tmp/venv/bin/python" "$tmp/write.py" "$tmp/out-$version"
done
if [[ $(cat "$tmp/out-0.8.0/found") == "0600 replaced" && $(cat "$tmp/out-0.7.0/found") == "0644 kept" ]]; then
  echo "as described"
else
  echo "the behaviour has changed"
  exit 1
fi
