#!/usr/bin/env bash
# MLflow's client sends a request again where its answer is late, whatever the request does: POST too. Nothing in runs/create tells the server
# that it has had this wish already. Where the first answer comes later than MLFLOW_HTTP_REQUEST_TIMEOUT (120 s unless set, 2 s here), one call
# of create_run makes two runs. The caller gets the second and ends it. The first stays RUNNING.
# Exit code: 0 the behaviour is as described, 1 it is another one, 2 the package can't be installed, or its server does not start.
set -euo pipefail
PYTHON=${PYTHON:-python3}
tmp=$(mktemp -d)
server=
leave() {
  [[ -z $server ]] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
  rm -rf "$tmp"
}
trap leave EXIT
"$PYTHON" -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check mlflow==3.17.2 || exit 2
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false OMP_NUM_THREADS=1
port=$("$tmp/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(cd "$tmp" && exec "$tmp/venv/bin/mlflow" server --host 127.0.0.1 --port "$port" --workers 1 --backend-store-uri "sqlite:///$tmp/mlflow.db" \
  --artifacts-destination "$tmp/artifacts") >"$tmp/server.txt" 2>&1 &
server=$!
cat >"$tmp/check.py" <<'PY'
import os
import sys
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "2"
import mlflow
from mlflow import MlflowClient

PORT = int(sys.argv[1])


class Relay(BaseHTTPRequestHandler):
    """Passes requests on to the server at once; may hold the first answer of runs/create."""

    protocol_version = "HTTP/1.1"
    hold_seconds, creates, lock = 0, 0, threading.Lock()

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server = HTTPConnection("127.0.0.1", PORT, timeout=60)
        server.request(self.command, self.path, body, {"Content-Type": "application/json"})
        answer = server.getresponse()
        content = answer.read()
        server.close()
        if self.path.endswith("/runs/create"):
            with Relay.lock:
                Relay.creates += 1
                first = Relay.creates == 1
            time.sleep(Relay.hold_seconds if first else 0)
        try:
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # the client waits no longer
            self.close_connection = True

    do_GET = do_POST = do_PATCH = pass_on

    def log_message(self, *_):
        pass


def wait_for_server():
    for _ in range(120):
        try:
            connection = HTTPConnection("127.0.0.1", PORT, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(1)
    print("the server has not started")
    sys.exit(2)


def create(name, hold_seconds):
    """How often one call of create_run asked, and the states of the runs that are there afterwards, the caller's first."""
    Relay.hold_seconds, Relay.creates = hold_seconds, 0
    direct, client = MlflowClient(f"http://127.0.0.1:{PORT}"), MlflowClient(f"http://127.0.0.1:{relay.server_port}")
    experiment = direct.create_experiment(name)
    run = client.create_run(experiment)
    direct.set_terminated(run.info.run_id)
    time.sleep(hold_seconds)
    runs = sorted(direct.search_runs([experiment]), key=lambda each: each.info.run_id != run.info.run_id)
    found = Relay.creates, [each.info.status for each in runs]
    print(f"mlflow {mlflow.__version__}, answer {hold_seconds} s late: requests of one create_run: {found[0]}, its runs: {', '.join(found[1])}")
    return found


wait_for_server()
relay = ThreadingHTTPServer(("127.0.0.1", 0), Relay)
relay.daemon_threads = True
threading.Thread(target=relay.serve_forever, daemon=True).start()
as_described = create("in time", 0) == (1, ["FINISHED"]) and create("late", 6) == (2, ["FINISHED", "RUNNING"])
print("as described" if as_described else "the behaviour has changed")
sys.exit(0 if as_described else 1)
PY
"$tmp/venv/bin/python" "$tmp/check.py" "$port" 2>"$tmp/stderr" || { code=$?; tail -5 "$tmp/stderr"; exit "$code"; }
