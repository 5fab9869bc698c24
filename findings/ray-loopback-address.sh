#!/usr/bin/env bash
# `ray start --node-ip-address=127.0.0.1` does not keep a Ray on loopback: on a machine that has another address it takes
# that one instead, and says so in one line of its output only. ray.init replaces 127.0.0.1 in an address alike, so that
# it can't reach a Ray that is on loopback alone. The switch that keeps the address as it was given, for both, is named
# after Windows and macOS, and works on Linux.
# Exit code: 0 the behaviour is as described, 1 it is another one, 2 the packages can't be installed, or the machine has no
# other address than 127.0.0.1.
set -euo pipefail
PYTHON=${PYTHON:-python3}
VERSION=2.60.0
tmp=$(mktemp -d /tmp/rlXXXX)
head=
leave() {
  [[ -z $head ]] || { kill "$head" 2>/dev/null || true; wait "$head" 2>/dev/null || true; }
  rm -rf "$tmp"
}
trap leave EXIT
"$PYTHON" -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check "ray==$VERSION" || exit 2
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
export RAY_AUTH_TOKEN
other=$("$tmp/venv/bin/python" -c 'import ray; print(ray.util.get_node_ip_address())')
[[ $other != 127.0.0.1 ]] || { echo "this machine has no other address"; exit 2; }
cat >"$tmp/where.py" <<'PY'
import sys

import ray

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(ray.nodes()[0]["NodeManagerAddress"])
PY
node_address() { # of a Ray that is told to be on 127.0.0.1
  local port out="$tmp/start-$1.txt"
  port=$("$tmp/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  "$tmp/venv/bin/ray" start --head --block --node-ip-address=127.0.0.1 --port="$port" --num-cpus=1 \
    --include-dashboard=false --object-store-memory=100000000 --temp-dir="$tmp/$1" >"$out" 2>&1 &
  head=$!
  for _ in $(seq 90); do
    if grep -q "runtime started" "$out"; then break; fi
    sleep 1
  done
  found=$(timeout 60 "$tmp/venv/bin/python" "$tmp/where.py" "127.0.0.1:$port" | tail -1) || true
  kill "$head" && wait "$head" || true
  head=
}
node_address a
plain=$found
export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0
node_address b
kept=$found
echo "ray $VERSION, ray start --node-ip-address=127.0.0.1: the node is at ${plain/$other/the other address}"
echo "the same with RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0: at ${kept/$other/the other address}"
if [[ $plain == "$other" && $kept == 127.0.0.1 ]]; then
  echo "as described"
else
  echo "the behaviour has changed"
  exit 1
fi
