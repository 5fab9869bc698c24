#!/usr/bin/env bash
# `ray.init` takes SIGTERM from a program that has a handler of its own for it: from then on the process prints a stack
# from C++ and ends with code 15, and the program's handler is not called. To SIGINT nothing of this happens. A handler that
# is set again after `ray.init` is called, and no stack is printed.
# Exit code: 0 the behaviour is as described, 1 it is another one, 2 the package can't be installed.
set -euo pipefail
PYTHON=${PYTHON:-python3}
VERSION=2.60.0
tmp=$(mktemp -d /tmp/rsXXXX)
program=
leave() {
  [[ -z $program ]] || { kill -KILL "$program" 2>/dev/null || true; wait "$program" 2>/dev/null || true; }
  rm -rf "$tmp"
}
trap leave EXIT
"$PYTHON" -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check "ray==$VERSION" || exit 2
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
export RAY_AUTH_TOKEN
cat >"$tmp/program.py" <<'PY'
import signal
import sys
import time

import ray


def own(number, frame):
    print("the program's own handler", flush=True)
    ray.shutdown()
    sys.exit(42)


for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, own)
ray.init(
    address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
    object_store_memory=100_000_000, _temp_dir=sys.argv[1], _node_ip_address="127.0.0.1",
)
if sys.argv[2] == "again":
    signal.signal(signal.SIGTERM, own)
print("ready", flush=True)
while True:
    time.sleep(1)
PY
ended_by() { # a signal, and whether the handler is set again; prints the code, whether the handler ran, whether a stack came
  local out="$tmp/$1-$2.txt" code=0 handled=no stack=no
  "$tmp/venv/bin/python" "$tmp/program.py" "$tmp/$1-$2" "$2" >"$out" 2>&1 &
  program=$!
  for _ in $(seq 300); do
    if grep -q '^ready' "$out"; then break; fi
    sleep 0.2
  done
  kill "-$1" "$program"
  wait "$program" || code=$?
  program=
  if grep -q "the program's own handler" "$out"; then handled=yes; fi
  if grep -q 'SIGTERM received' "$out"; then stack=yes; fi
  echo "code $code, handler called: $handled, stack: $stack"
}
term=$(ended_by TERM once)
again=$(ended_by TERM again)
int=$(ended_by INT once)
echo "ray $VERSION, SIGTERM: $term"
echo "ray $VERSION, SIGTERM, its handler set again after ray.init: $again"
echo "ray $VERSION, SIGINT: $int"
[[ $term == "code 15, handler called: no, stack: yes" ]] &&
  [[ $again == "code 42, handler called: yes, stack: no" ]] &&
  [[ $int == "code 42, handler called: yes, stack: no" ]] || { echo "this is another behaviour"; exit 1; }
