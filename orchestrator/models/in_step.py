"""Several computations that go through a model's layers in step: a layer is there for all of them, then the next.

Each runs in a thread of its own, one of all at a time, and is the code that it always is. Where it comes to a layer it
waits until the others want that layer too. Layers compute in the thread that called: products have its threads, and
memory comes from where it comes from otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import nn

Result = TypeVar("Result")
_own = threading.local()


def current() -> Pass[Any] | None:
    """The computation that this thread is; None: it is none of several."""
    found: Pass[Any] | None = getattr(_own, "pass_", None)
    return found


def in_step(
    functions: Sequence[Callable[[], Result]], there: Callable[[nn.Module], AbstractContextManager[object]]
) -> list[Result]:
    """What each function returns.

    Args:
        functions: each calls :meth:`Pass.through` of :func:`current` for a layer.
        there: holds a layer's weights while it computes.

    Raises:
        Whatever a function raises, the first of them; the others are left where they are.
    """
    passes = [Pass(function) for function in functions]
    try:
        for each in passes:
            each.go_on()
        while waiting := [each for each in passes if each.wanted is not None]:
            layer = waiting[0].wanted
            assert layer is not None
            with there(layer):
                for each in waiting:
                    if each.wanted is layer:
                        each.compute()
                        each.go_on()
        return [each.result for each in passes]
    finally:
        for each in passes:
            each.leave()


class Pass(Generic[Result]):
    """One of several computations.

    Attributes:
        wanted: the layer that it waits for; None: it has ended.
    """

    def __init__(self, function: Callable[[], Result]) -> None:
        self.wanted: nn.Module | None = None
        self._function, self._left = function, False
        self._turn, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        self._layer: Callable[[], Any] = lambda: None
        self._modes = _Modes()
        self._answer: Any = None
        self._error: BaseException | None = None
        self._results: list[Result] = []
        self._thread = threading.Thread(target=self._run, name="a pass in step", daemon=True)
        self._thread.start()

    @property
    def result(self) -> Result:
        """What its function returned."""
        return self._results[0]

    def through(self, layer: nn.Module, forward: Callable[[], Any]) -> Any:
        """What `forward` returns, computed while the layer is there; for the function's own thread."""
        self._layer, self._modes, self.wanted = forward, _Modes(), layer
        self._waits.release()
        self._turn.acquire()
        if self._left:
            raise _LeftError
        answer, self._answer = self._answer, None
        return answer

    def compute(self) -> None:
        """Compute the layer that it waits for."""
        with self._modes.on():
            self._answer = self._layer()
        del self._layer

    def go_on(self) -> None:
        """Let it go on until it waits again or has ended.

        Raises:
            Whatever its function raised.
        """
        self.wanted = None
        self._turn.release()
        self._waits.acquire()
        if self._error is not None:
            raise self._error

    def leave(self) -> None:
        """End it wherever it is."""
        self._left = True
        self._turn.release()
        self._thread.join()

    def _run(self) -> None:
        self._turn.acquire()
        _own.pass_ = self
        try:
            if not self._left:
                self._results.append(self._function())
        except _LeftError:
            pass
        except BaseException as error:  # for the thread that waits
            self._error = error
        finally:
            del self._function
            self._waits.release()


class _LeftError(BaseException):
    """A computation is not wanted any more."""


class _Modes:
    """What torch knows of each thread apart, as it is in this one."""

    def __init__(self) -> None:
        self._grad, self._inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        kinds = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
        self._low = {kind: torch.get_autocast_dtype(kind) for kind in kinds if torch.is_autocast_enabled(kind)}

    @contextmanager
    def on(self) -> Iterator[None]:
        """Within, this thread is in the same."""
        with torch.inference_mode(self._inference), torch.set_grad_enabled(self._grad and not self._inference):
            if not self._low:
                yield
                return
            ((kind, low),) = self._low.items()
            with torch.autocast(kind, low):
                yield
