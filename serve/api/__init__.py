"""The HTTP interface over any backend: Ray Serve's handles, engines in this process, a fake in tests. No Ray here."""

from serve.api.app import create_app
from serve.api.backend import Backend
from serve.api.keys import Keys, check_exposure

__all__ = ["Backend", "Keys", "check_exposure", "create_app"]
