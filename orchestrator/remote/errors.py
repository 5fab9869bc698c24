"""What a store's failure means: whether the same request may succeed later, and what a person is told.

Neither addresses with a login nor the store's own words get into a message: both may hold a key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from http.client import IncompleteRead
from typing import Any

from orchestrator.errors import MomeError, ResourceError

_LOGIN = re.compile(r"://[^/\s]*@")
_BROKEN_OFF = frozenset(
    # of botocore, aiohttp and requests, none of which need be installed
    {"HTTPClientError", "ConnectionError", "ClientPayloadError", "ClientConnectionError", "ResponseParserError"}
    | {"ChecksumError", "ChunkedEncodingError", "Timeout"}
)
_AGAIN = re.compile(
    "SlowDown|Throttl|RequestTimeout|OperationAborted|ConditionalRequestConflict|BadDigest|IncompleteBody"
    "|XAmzContentSHA256Mismatch"
)
_NO_KEYS = frozenset({"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "ProfileNotFound"})


def without_login(url: str) -> str:
    """An address without a name and password."""
    return _LOGIN.sub("://…@", url)


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later: an overloaded store, a broken connection, a time-out."""
    if is_there_already(error) or isinstance(error, FileNotFoundError | PermissionError):
        return False
    status, code = _answer(error)
    if status or code:
        return status in (408, 429) or (status >= 500 and status != 501) or bool(_AGAIN.match(code))
    chain = list(_chain(error))
    broken = any(isinstance(each, TimeoutError | ConnectionError | IncompleteRead) for each in chain)
    return broken or any(not _BROKEN_OFF.isdisjoint(base.__name__ for base in type(each).__mro__) for each in chain)


def is_there_already(error: BaseException) -> bool:
    """Whether a conditional put was refused because the key exists."""
    status, code = _answer(error)
    return isinstance(error, FileExistsError) or status == 412 or code == "PreconditionFailed"


def is_missing(error: BaseException) -> bool:
    """Whether an object, and not its bucket, is not there."""
    return isinstance(error, FileNotFoundError) and _answer(error)[1] != "NoSuchBucket"


def explained(error: Exception, where: str) -> MomeError:
    """What a person is told of a failure at an address."""
    where, (status, code) = without_login(where), _answer(error)
    number = error.errno if isinstance(error, OSError) else None
    said = os.strerror(number) if number else type(error).__name__
    answer = " ".join(filter(None, (str(status or ""), code))) or said
    if any(type(each).__name__ in _NO_KEYS for each in _chain(error)):
        fix = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role"
        return ResourceError("there are no credentials for this store", where, fix)
    if isinstance(error, PermissionError) or status in (401, 403):
        fix = "check which credentials are set, and that they may list, read, write and delete there"
        return ResourceError(f"the store refuses access ({answer})", where, fix)
    if isinstance(error, FileNotFoundError):
        fix = "make it first, or correct the address: s3://BUCKET/FOLDER"
        return ResourceError(f"there is no such bucket ({answer})", where, fix)
    if may_pass(error):
        fix = "check the address (AWS_ENDPOINT_URL for a store that is not Amazon's), or type the same command later"
        return ResourceError(f"the store does not answer, or not whole ({answer})", where, fix)
    return ResourceError(f"the store refuses a request ({answer})", where, "check the address and the store's rules")


def _answer(error: BaseException) -> tuple[int, str]:
    """Status of HTTP (0: none) and the store's word for the failure (""): of botocore's error or gcsfs's."""
    for each in _chain(error):
        response: Any = getattr(each, "response", None)
        if isinstance(response, dict):
            code = str(response.get("Error", {}).get("Code", ""))
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode") or (code if code.isdigit() else 0)
            return int(status), "" if code.isdigit() else code
        found = str(getattr(each, "code", "") or getattr(each, "status", "") or "")
        if found.isdigit():
            return int(found), ""
    return 0, ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
