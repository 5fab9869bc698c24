#!/usr/bin/env bash
# Ray Train starts an actor a training that removes the training's placement group when the training's controller has died.
# The actor asks Ray's state API whether the controller is alive, and the state API is part of the dashboard. In a cluster
# without one (ray.init(include_dashboard=False)) the actor neither removes the group, which goes on holding its CPUs, nor
# ends. With the dashboard it does both.
# Exit code: 0 the behaviour is as described, 1 it is another one, 2 the packages can't be installed.
set -euo pipefail
PYTHON=${PYTHON:-python3}
VERSION=2.60.0
tmp=$(mktemp -d /tmp/rcXXXX)
trap 'rm -rf "$tmp"' EXIT
"$PYTHON" -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check "ray[default,train]==$VERSION" psutil || exit 2
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 RAY_DISABLE_IMPORT_WARNING=1
export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0  # on loopback alone
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
export RAY_AUTH_TOKEN
cat >"$tmp/look.py" <<'PY'
import os
import sys
import threading
import time
from contextlib import suppress

import psutil
import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util import placement_group_table

folder, dashboard = sys.argv[1], sys.argv[2] == "with"


def train() -> None:
    open(f"{folder}/begun", "w").close()
    time.sleep(600)


def titled(title: str) -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if title in " ".join(process.cmdline()):
                found.append(process)
    return found


def fit() -> None:
    run = RunConfig(name="training", storage_path=folder)
    with suppress(ray.exceptions.RayActorError):
        DataParallelTrainer(train, scaling_config=ScalingConfig(num_workers=1), run_config=run).fit()


ray.init(num_cpus=2, include_dashboard=dashboard, dashboard_port=0, log_to_driver=False, _temp_dir=f"{folder}/ray")
thread = threading.Thread(target=fit, daemon=True)
thread.start()
while not os.path.exists(f"{folder}/begun"):
    time.sleep(0.2)
time.sleep(3)  # the actor has been told the group
for controller in titled("ray::TrainController"):
    controller.kill()
thread.join()
end = time.monotonic() + 60
while time.monotonic() < end and titled("PlacementGroupCleaner"):
    time.sleep(1)
states = sorted(facts["state"] for facts in placement_group_table().values())
print(f"{sys.argv[2]} dashboard: groups {states}, cleaners {len(titled('PlacementGroupCleaner'))}")
sys.stdout.flush()
ray.shutdown()
PY
for dashboard in without with; do
  mkdir "$tmp/$dashboard"
  timeout 300 "$tmp/venv/bin/python" "$tmp/look.py" "$tmp/$dashboard" "$dashboard" 2>"$tmp/$dashboard/errors.txt" | tee -a "$tmp/out.txt"
done
echo "ray $VERSION, a minute after the controller was killed"
if grep -q "without dashboard: groups \['CREATED'\], cleaners 1" "$tmp/out.txt" &&
  grep -q "with dashboard: groups \['REMOVED'\], cleaners 0" "$tmp/out.txt"; then
  echo "as described"
else
  echo "the behaviour has changed"
  exit 1
fi
