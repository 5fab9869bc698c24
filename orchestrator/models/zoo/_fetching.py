"""Why a pretrained model can't be had, in words that say what to do."""

from __future__ import annotations

import difflib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib import metadata
from pathlib import Path

from orchestrator.errors import ModelError, MomeError, ResourceError

_UNREACHABLE = {
    *("LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError", "ConnectError", "TimeoutException"),
}
_WHERE = "models.zoo.pretrained"
_PATIENCE_SECONDS = 5.0


@contextmanager
def asking(name: str) -> Iterator[None]:
    """Say what is waited for where the hub is slow: without a network its client asks again for minutes, in silence.

    Its public settings bound a request's time, and not how often it asks.
    """
    timer = threading.Timer(_PATIENCE_SECONDS, partial(_say, name))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@cache  # once a model
def _say(name: str) -> None:
    way = "without a network, give its folder as `name`, or set HF_HUB_OFFLINE=1 for what was fetched before"
    print(f"waiting for the model hub's answer on {name}; {way}", file=sys.stderr, flush=True)


def is_absent(error: Exception, name: str, file: str, revision: str | None) -> bool:
    """Whether an error says that a model has no such file, and not that nobody answered.

    Its client raises a kind of the same error for both. A tokenizer would be taken without the files that were not had.
    """
    from huggingface_hub import _CACHED_NO_EXIST, constants, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if not isinstance(error, LocalEntryNotFoundError):
        return isinstance(error, EntryNotFoundError)
    # where the network is switched off, what was fetched before is all there is
    return constants.HF_HUB_OFFLINE or try_to_load_from_cache(name, file, revision=revision) is _CACHED_NO_EXIST


def explained(error: Exception, name: str, path: Path | None) -> MomeError:
    """The error of transformers or of the hub as one of ours.

    Args:
        error: as it was raised.
        name: of the model.
        path: where it lies; None: on the hub.
    """
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    text = _said(error, name)
    if "trust_remote_code" in str(error) or "custom code" in str(error):
        what = f"{name} comes with code of its own, which is not run"
        fix = "take a model whose type is part of transformers"
        return ModelError(what, str(path or _WHERE), fix)
    if "does not recognize this architecture" in text:
        kind = text.partition("model type `")[2].partition("`")[0]
        what = f"{name} is of the type {kind!r}, which transformers {_version()} does not know"
        return ModelError(what, str(path or _WHERE), "take another model, or a newer transformers")
    if kinds & _UNREACHABLE:
        return ResourceError(
            f"the model hub can't be reached for {name}, and there is no such folder in {Path.cwd()}",
            where=_WHERE,
            fix="check the network (or HF_ENDPOINT), or download the model and give its folder as `name`",
        )
    if "HFValidationError" in kinds:
        what = f"there is no folder {name!r} in {Path.cwd()}, and no model of the hub can be called so"
        return ModelError(what, where=_WHERE, fix=nearest(Path(name)))
    missing = (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError)
    what = f"the hub has no model {name!r}" if any(isinstance(c, missing) for c in causes) else text
    if path is not None:
        return ModelError(what, where=str(path), fix="mend the folder: copy or download the model again")
    fix = "check `name` and `revision`"
    if "safetensors" in text:
        fix += "; its weights have to be safetensors: pickles (.bin), which can run code, are not loaded"
    return ModelError(what, where=_WHERE, fix=fix)


def _said(error: Exception, name: str) -> str:
    """What an error says, in a line; of one that is no sentence by itself, that transformers says so of the model."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    lines = [line.strip() for line in str(error).splitlines()]
    if isinstance(error, StrictDataclassError):  # its first line names the check, the next one what is wrong
        return f"transformers can't take {name}: {' '.join(lines)}"
    if lines and isinstance(error, OSError | ValueError | RuntimeError | ImportError | SafetensorError):
        return lines[0]
    return ": ".join([f"transformers can't take {name}", type(error).__name__, *lines[:1]])


def _version() -> str:
    return metadata.version("transformers")


def nearest(path: Path) -> str:
    """What to name instead of a folder without a model: one in it, or beside it."""
    inside = sorted(file.parent for file in path.glob("*/config.json"))
    beside = {file.parent.name: file.parent for file in path.absolute().parent.glob("*/config.json")}
    near = inside or [beside[name] for name in difflib.get_close_matches(path.name, beside)]
    return f'did you mean "{near[0]}"?' if near else "give a folder that save_pretrained wrote"
