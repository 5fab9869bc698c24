"""A server on loopback with the part of the hub's interface that creating a repository and uploading a folder need.

It keeps what it is given as the hub does: large files by their SHA-256, small ones in the commit. The client is
huggingface_hub itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN, OTHER = "hf_may_write", "hf_may_read"
SMALL = 4000
"""Files of more bytes are large."""


class Hub(ThreadingHTTPServer):
    """Attributes: repositories: name -> {"visibility", "message", "files": path -> bytes}."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, Any]] = {}
        self.large: dict[str, bytes] = {}
        self.address = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        if self.path == "/api/whoami-v2" and self._token() in (TOKEN, OTHER):
            return self._answer({"name": "me", "type": "user", "auth": {}})
        return self._answer({"error": "who is there?"}, 401)

    def do_PUT(self) -> None:
        data = self._body()
        self.server.large[hashlib.sha256(data).hexdigest()] = data
        self._answer({})

    def do_POST(self) -> None:
        body, path = self._body(), self.path.partition("?")[0]
        if self._token() != TOKEN:
            return self._answer({"error": "no right to write"}, 403)
        if path == "/api/validate-yaml":
            return self._answer({"warnings": [], "errors": []})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.endswith("/objects/batch"):
            return self._answer(
                {"transfer": "basic", "objects": [self._place(each) for each in json.loads(body)["objects"]]}
            )
        _, _, _, *name, what, _ = path.split("/")
        if what == "preupload":
            return self._answer({"files": [self._mode(each) for each in json.loads(body)["files"]]})
        assert what == "commit", path
        return self._commit("/".join(name), [json.loads(line) for line in body.splitlines()])

    def _create(self, wish: dict[str, Any]) -> None:
        name = f"{wish['organization'] or 'me'}/{wish['name']}"
        if name in self.server.repositories:
            return self._answer({"error": "there is one", "url": f"{self.server.address}/{name}"}, 409)
        self.server.repositories[name] = {"visibility": wish.get("visibility"), "files": {}}
        return self._answer({"url": f"{self.server.address}/{name}"})

    def _mode(self, file: dict[str, Any]) -> dict[str, Any]:
        mode = "lfs" if file["size"] > SMALL else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}

    def _place(self, wanted: dict[str, Any]) -> dict[str, Any]:
        return {**wanted, "actions": {"upload": {"href": f"{self.server.address}/large/{wanted['oid']}"}}}

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        kept = self.server.repositories[name]
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                kept["message"] = value["summary"]
            elif line["key"] == "lfsFile":
                kept["files"][value["path"]] = self.server.large[value["oid"]]
            else:
                kept["files"][value["path"]] = base64.b64decode(value["content"])
        self._answer({"commitUrl": f"{self.server.address}/{name}/commit/1", "commitOid": "1" * 40})

    def _token(self) -> str:
        return str(self.headers.get("Authorization")).removeprefix("Bearer ")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, found: Any, status: int = 200) -> None:
        data = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub, as long as the block."""
    with Hub() as hub:
        thread = Thread(target=hub.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
