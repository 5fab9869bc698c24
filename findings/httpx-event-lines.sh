#!/usr/bin/env bash
# httpx's iter_lines ends lines where str.splitlines does: at U+2028, U+2029 and U+0085 too. In server-sent events only \n and \r
# end lines, and JSON may hold the other three as they are, so one event whose text has one of them comes as two broken lines.
# A server that writes them as \u2028 … is read whole.
# Exit code: 0 the behaviour is as described, 1 it is another one, 2 the packages can't be installed.
set -euo pipefail
PYTHON=${PYTHON:-python3}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$PYTHON" -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check httpx==0.28.1 || exit 2
"$tmp/venv/bin/python" - <<'PY'
import json
import sys

import httpx


def lines(text: str, ascii_only: bool) -> list[str]:
    event = f"data: {json.dumps({'text': text}, ensure_ascii=ascii_only)}\n\n"
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=event.encode())
    return [line for line in response.iter_lines() if line]


found = {name: (len(lines(f"a{end}b", False)), len(lines(f"a{end}b", True)))
         for name, end in (("U+2028", "\u2028"), ("U+2029", "\u2029"), ("U+0085", "\x85"))}
for name, (plain, escaped) in found.items():
    print(f"httpx {httpx.__version__}, one event with {name}: {plain} lines as it is, {escaped} escaped")
as_described = all(pair == (2, 1) for pair in found.values())
print("as described" if as_described else "the behaviour has changed")
sys.exit(0 if as_described else 1)
PY
