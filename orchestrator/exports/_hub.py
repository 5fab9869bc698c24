"""Exported folders on the Hugging Face Hub, or on a server with its interface (`HF_ENDPOINT`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ModelError, MomeError, ResourceError

_WHERE = "--push"
_TOKEN = "hf auth login, or set HF_TOKEN to a token that may write (https://huggingface.co/settings/tokens)"


@dataclass(frozen=True)
class Hub:
    """Where exported folders go.

    Attributes:
        repository: USER/NAME or ORGANIZATION/NAME; NAME is the user's own.
        public: a new repository can be seen by everybody; else by those alone who may write to it.
    """

    repository: str
    public: bool = False

    def check(self) -> None:
        """Make sure, before an export takes its minutes, that the hub is there and knows who asks.

        Raises:
            ModelError: no repository can have this name. ResourceError: there is no token, the hub does not take it, or
                it can't be reached.
        """
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

        try:
            validate_repo_id(self.repository)
        except HFValidationError:
            fix = "give USER/NAME: letters, digits, '-', '_' and '.', at most 96 characters"
            raise ModelError(f"{self.repository!r} is no name of a repository", _WHERE, fix) from None
        if get_token() is None:
            raise ResourceError("writing to the hub needs a token, and there is none", _WHERE, _TOKEN)
        try:
            HfApi().whoami()
        except _failures() as error:
            raise _told(error, self.repository, "") from None

    def push(self, folder: Path, suffix: str, message: str) -> str:
        """Upload a folder; the repository is made where there is none.

        Args:
            folder: an exported one.
            suffix: of the repository's name, for one of several experts.
            message: of the commit.

        Returns:
            The repository's address.

        Raises:
            ResourceError: the hub does not let this token write there, refuses a file, or can't be reached.
        """
        from huggingface_hub import HfApi

        name = f"{self.repository}-{suffix}" if suffix else self.repository
        try:
            made = HfApi().create_repo(name, private=not self.public, exist_ok=True)
            HfApi().upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message=message)
        except _failures() as error:
            again = f"the folder is whole: give the same command again, or: hf upload {name} {folder}"
            raise _told(error, name, again) from None
        return str(made)


def _failures() -> tuple[type[Exception], ...]:
    """What the package raises where a request fails: of the network, of the server's answer, of a worker's thread."""
    from huggingface_hub.errors import HfHubHTTPError

    # Of the client that the package is built on: httpx, or its successor.
    of_client = tuple(kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
    return OSError, ValueError, RuntimeError, *of_client


def _told(error: Exception, name: str, again: str) -> MomeError:
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    statuses = (getattr(getattr(each, "response", None), "status_code", None) for each in causes)
    status = next((each for each in statuses if each is not None), None)
    if status == 401:
        return ResourceError("the hub does not take the token", _WHERE, _TOKEN)
    if status == 403:
        what = f"the hub does not let this token write to {name}"
        return ResourceError(what, _WHERE, "take a token that may write there, or another repository")
    text = next((line for each in causes if (line := str(each).partition("\n")[0])), type(error).__name__)
    if status is None and not isinstance(error, ValueError):
        fix = "check the network (HF_ENDPOINT, HF_HUB_OFFLINE)" + (f"; {again}" if again else "")
        return ResourceError(f"the hub can't be reached: {text}", _WHERE, fix)
    return ResourceError(f"the hub refuses {name}: {text}", _WHERE, again)
