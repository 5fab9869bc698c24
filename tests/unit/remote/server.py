"""An S3 server on loopback (moto's), and the same one behind what fails a share of the requests."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestrator.remote.store import RemoteStore

BUCKET = "models"
KEY, SECRET = "AKIAOFTHETEST", "a-secret-of-the-test"
SLOW = b"<Error><Code>SlowDown</Code><Message>reduce your request rate</Message></Error>"
BROKEN = b"<Error><Code>InternalError</Code><Message>once more</Message></Error>"


@dataclass
class S3:
    """The server. `hear` is told of each request, as method and path; `fails`: the share of requests that fail."""

    app: Any
    url: str = ""
    fails: float = 0.0
    hear: Callable[[str, str], None] = lambda method, path: None
    ignores_conditions: bool = False
    failed: int = 0
    session: Any = None
    requests: list[tuple[str, str]] = field(default_factory=list)
    dice: random.Random = field(default_factory=lambda: random.Random(15))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        with self.lock:
            self.requests.append((method, path))
            fate = self.dice.random() / self.fails if self.fails else 1.0
            self.failed += fate < 1
        self.hear(method, path)
        if self.ignores_conditions:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        if 0.5 <= fate < 0.75:  # what was asked is done, and the answer is lost
            list(self.app(environ, lambda *_: None))
        if fate < 0.25:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("503 Slow Down", [("Content-Length", str(len(SLOW)))])
            return [SLOW]
        if fate < 0.5:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("500 Internal Server Error", [("Content-Length", str(len(BROKEN)))])
            return [BROKEN]
        if fate < 1:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        return self.app(environ, start_response)

    @property
    def options(self) -> dict[str, Any]:
        """What s3fs needs to reach it; botocore and s3fs try once, so that what is tested is ours."""
        once = {"retries": {"total_max_attempts": 1}, "connect_timeout": 3, "read_timeout": 10}
        return {"endpoint_url": self.url, "key": KEY, "secret": SECRET, "config_kwargs": once}

    @property
    def environment(self) -> dict[str, str]:
        """What other processes need to reach it."""
        names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
        return dict(zip(names, (self.url, KEY, SECRET, "us-east-1"), strict=True))

    def store(self, folder: str, **more: Any) -> RemoteStore:
        """A store in its bucket; all share what botocore reads from its files."""
        from aiobotocore.session import get_session

        self.session = self.session or get_session()
        options = {**self.options, "session": self.session}
        return RemoteStore(f"s3://{BUCKET}/{folder}", options, **{"patience": 20.0, **more})


@contextmanager
def served() -> Iterator[S3]:
    """The server, with its bucket; skips the test where moto or s3fs is not installed."""
    pytest.importorskip("s3fs")
    moto_server = pytest.importorskip("moto.moto_server.werkzeug_app")
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_: Any, **__: Any) -> None:
            pass

    s3 = S3(moto_server.DomainDispatcherApplication(moto_server.create_backend_app))
    server = make_server("127.0.0.1", 0, s3, threaded=True, request_handler=Quiet)
    server.log = lambda *_, **__: None  # type: ignore[method-assign]
    s3.url = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    import s3fs

    with suppress(FileExistsError):  # moto's buckets are the process's
        s3fs.S3FileSystem(skip_instance_cache=True, **s3.options).mkdir(BUCKET)
    try:
        yield s3
    finally:
        server.shutdown()
        thread.join()
