"""The objects below an address, by fsspec: whole files in and out, and the one conditional put."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.errors import ArtifactError, ResourceError
from orchestrator.remote.errors import is_missing, is_there_already, without_login
from orchestrator.remote.transfers import Transfers

T = TypeVar("T")
_WHOLE = 1 << 24
"""Larger files (bytes) are read twice, for their digest and for the store, in parts of this size."""
_FOLDER: Mapping[str, Any] = {"auto_mkdir": True}
_S3: Mapping[str, Any] = {"max_concurrency": 2, "config_kwargs": {"retries": {"mode": "standard", "max_attempts": 2}}}
_GIVEN = {"file": _FOLDER, "local": _FOLDER, "memory": {}, "s3": _S3, "s3a": _S3, "gs": {}, "gcs": {}}
"""Kinds of stores that have a conditional put, and what their file systems are made with. Elsewhere fsspec looks first
and writes then, so two writers both succeed."""
_BUCKETS = ("s3", "s3a", "gs", "gcs")
_ONE_PUT = threading.Lock()  # of all memory:// in this process
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Sent:
    """What has been read of a file to be sent: its size in bytes, and digests (hex)."""

    bytes: int
    sha256: str
    md5: str


@dataclass(frozen=True)
class Lying:
    """An object as the store lists it.

    Attributes:
        bytes: its size.
        tag: what the store gives for a digest: MD5 (hex) where nothing is encrypted and it came in one piece; "": none.
        changed: seconds since 1970, by the store's clock.
    """

    bytes: int
    tag: str
    changed: float


def check_address(url: str) -> str:
    """What kind of store an address names; the store is not asked.

    Raises:
        ResourceError: one that artifacts can't be published in, or none.
    """
    kind = url.partition("://")[0] if "://" in url else "file"
    nameless = kind in _BUCKETS and re.match(r"\w+://(/|$)", url)
    if kind not in _GIVEN or nameless or "::" in url or re.match(r"[A-Za-z0-9+]{2,}:(?!//)", url):
        what = "this is no address of a store in which artifacts can be published"
        if url.partition(":")[0] in _BUCKETS:
            what = "this address names no bucket"
        fix = "use s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or a folder; another kind of store: mount it"
        raise ResourceError(what, without_login(url).rstrip("/"), fix)
    return kind


@dataclass
class Objects:
    """Objects below an address.

    Attributes:
        url: the address.
        options: what fsspec's file system is made with.
        transfers: how requests are made.
    """

    url: str
    options: Mapping[str, Any] = field(repr=False)
    transfers: Transfers

    def __post_init__(self) -> None:
        self.shown = without_login(self.url).rstrip("/")
        self._kind = check_address(self.url)
        self._fs, self._root = _file_system(self.url, self.shown, {**_GIVEN[self._kind], **self.options})

    def read(self, key: str) -> bytes | None:
        """An object's bytes; None: it is not there."""

        def request() -> bytes | None:
            try:
                return bytes(self._fs.cat_file(self._path(key)))
            except FileNotFoundError as error:
                if is_missing(error):
                    return None
                raise

        return self._patiently(key, request)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object that is not there, at once. False: the key exists, perhaps by a try whose answer was lost."""

        def request() -> bool:
            try:
                self._put_new(self._path(key), data)
            except Exception as error:
                if is_there_already(error):
                    return False
                raise
            return True

        return self._patiently(key, request)

    def upload(self, file: Path, key: str) -> Sent:
        """Write a file to a key of which nobody knows yet. What is hashed is what is sent.

        Raises:
            ArtifactError: the file has changed meanwhile. ResourceError: the store fails.
        """
        before = file.stat()
        if before.st_size <= _WHOLE:
            data = file.read_bytes()
            self._patiently(key, partial(self._fs.pipe_file, self._path(key), data))
            return Sent(
                len(data), hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).hexdigest()
            )
        sent, parts = _hashed(file), {"chunksize": _WHOLE} if self._kind in ("s3", "s3a") else {}
        self._patiently(key, partial(self._fs.put_file, str(file), self._path(key), **parts))
        after = file.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise ArtifactError("a file has changed while it was sent", str(file), "type the same command again")
        return sent

    def download(self, key: str, file: Path) -> bool:
        """Write an object into a file; False: it is not there."""

        def request() -> bool:
            try:
                self._fs.get_file(self._path(key), str(file))
            except FileNotFoundError as error:
                if is_missing(error):
                    return False
                raise
            return True

        return self._patiently(key, request)

    def list(self, folder: str) -> dict[str, Lying]:
        """Key -> object, of all below a folder, as they are now: nothing is remembered from an earlier time."""

        def request() -> dict[str, Any]:
            try:
                return dict(self._fs.find(self._path(folder), detail=True))
            except FileNotFoundError as error:
                if is_missing(error):
                    return {}
                raise

        found = self._patiently(folder, request)
        start = len(self._root) + 1
        return {path[start:]: _lying(facts) for path, facts in found.items() if "/." not in path[start:]}

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are no failure."""

        def request(key: str) -> None:
            try:
                self._fs.rm_file(self._path(key))
            except FileNotFoundError as error:
                if not is_missing(error):
                    raise

        self.transfers.all(lambda key: self._patiently(key, partial(request, key)), keys)

    def delete_parts(self, folder: str, until: float) -> None:
        """Delete parts of files below a folder whose upload began before a time (s since 1970) and has not ended.

        S3 keeps and charges them, and lists them nowhere else.
        """
        if self._kind not in ("s3", "s3a"):
            return
        bucket, prefix, _ = self._fs.split_path(self._path(folder))
        found = self._patiently(
            folder, partial(self._fs.call_s3, "list_multipart_uploads", Bucket=bucket, Prefix=prefix)
        )
        for upload in found.get("Uploads", ()):
            facts = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
            if upload["Initiated"].timestamp() < until:
                self._patiently(folder, partial(self._fs.call_s3, "abort_multipart_upload", **facts))

    def _put_new(self, path: str, data: bytes) -> None:
        """Write an object at once.

        Raises:
            FileExistsError: it is there (or another error that says so).
        """
        if self._kind in ("file", "local"):
            target = Path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{uuid.uuid4().hex}")
            try:
                temporary.write_bytes(data)
                os.link(temporary, target)  # fails where the target exists, over NFS too
            finally:
                temporary.unlink(missing_ok=True)
        elif self._kind == "memory":
            with _ONE_PUT:
                self._fs.pipe_file(path, data, mode="create")
        else:
            self._fs.pipe_file(path, data, mode="create")

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _patiently(self, key: str, request: Callable[[], T]) -> T:
        return self.transfers.patiently(request, f"{self.shown}/{key}")


def _file_system(url: str, shown: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """The file system of an address, of its own for this store, and the path on it.

    Raises:
        ResourceError: its package is not installed, or there is no such file system.
    """
    from fsspec.core import url_to_fs

    try:
        # what other processes write is to be seen, and no other store's settings are to be taken
        fs, root = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True, **options)
    except ImportError:
        kind = url.partition("://")[0]
        fix = "pip install gcsfs" if kind in ("gs", "gcs") else "pip install 'mome-orchestrator[s3]'"
        raise ResourceError(f"{kind}:// needs a package that is not installed", shown, fix) from None
    return fs, str(root).rstrip("/")


def _hashed(file: Path) -> Sent:
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with file.open("rb") as source:
        while chunk := source.read(_WHOLE):
            sha256.update(chunk)
            md5.update(chunk)
            size += len(chunk)
    return Sent(size, sha256.hexdigest(), md5.hexdigest())


def _lying(facts: Mapping[str, Any]) -> Lying:
    changed = facts.get("LastModified") or facts.get("mtime") or facts.get("created") or 0.0
    tag = str(facts.get("ETag", "")).strip('"')  # of Google: base64
    tag = base64.b64decode(facts["md5Hash"]).hex() if "md5Hash" in facts else tag
    seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed)
    return Lying(int(facts["size"]), tag if _MD5.fullmatch(tag) else "", seconds)
