"""One continuation on its way: its tokens, how they are chosen, its text, and what it tells its stream."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from torch import Tensor

from serve.engine.adjusting import Adjustment
from serve.engine.forward.step import Piece
from serve.engine.logprobs import describe
from serve.engine.options import BLOCK
from serve.engine.randomness import fresh_seed, uniform
from serve.engine.stopping import StopTexts
from serve.engine.stream import Stream
from serve.engine.structured import Matcher
from serve.errors import DeadlineError, RequestError
from serve.messages import Completion, Delta, FinishReason, GenerationRequest, Sampling, TokenLogprob
from serve.text import Detokenizer, Tokenizer


class Row:
    """A request with its prompt read.

    Args:
        request: whose `generated` tokens are computed again, and not told.
        prompt: ids of the prompt, the first one <s>.
        limit: tokens of the answer at most.
        tokenizer: of the model.
        matcher: of the constraint.
        seconds: from now, after which the row is given up; None: never.
        shares: of each expert, where the model mixes several.
        at_once: compute the `generated` tokens together, as they come out the same; else one by one, as the first time.

    Attributes:
        ids: tokens of prompt and answer. done: how many of them the slot holds. stream: where the answer goes.
        ended: whether the answer is whole.
    """

    def __init__(
        self,
        request: GenerationRequest,
        prompt: Sequence[int],
        limit: int,
        tokenizer: Tokenizer,
        matcher: Matcher | None = None,
        seconds: float | None = None,
        shares: tuple[float, ...] | None = None,
        *,
        at_once: bool = False,
    ) -> None:
        self.sampling: Sampling = request.sampling
        self.prompt, self.limit, self.ids, self.done = len(prompt), limit, list(prompt), 0
        self.deadline = None if seconds is None else time.monotonic() + seconds
        seed = self.sampling.seed
        self.stream = Stream(fresh_seed() if seed is None else seed)
        self.ended: FinishReason | None = None
        self._which, self._pieces, self._matcher = request.stream, tokenizer.bytes, matcher
        self._ends = frozenset(() if self.sampling.ignore_end else tokenizer.ends) | set(self.sampling.stop_tokens)
        self._common, self._shares = request.common, shares
        self._detokenizer, self._stops = Detokenizer(tokenizer.bytes), StopTexts(self.sampling.stop)
        self._adjustment = Adjustment(self.sampling, prompt)
        self._text: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        if self.sampling.echo:
            self._echo(prompt)
        self._known, self._at_once = deque(request.generated), at_once

    @property
    def remaining(self) -> int:
        """Tokens to compute before the next one can be chosen."""
        return len(self.ids) - self.done

    @property
    def reading(self) -> bool:
        """Whether some of the prompt is left. Its last token is read even if it is alone: torch decodes otherwise."""
        return self.done < self.prompt

    @property
    def reads_every(self) -> bool:
        """Whether the logits after every token of the prompt are wanted."""
        return self.sampling.echo and self.sampling.logprobs is not None and self.reading

    def piece(self, slot: int, most: int) -> Piece:
        """What to compute next, of `most` tokens at most; of a prompt that does not fit, whole blocks."""
        length = self.remaining if self.remaining <= most else most // BLOCK * BLOCK
        ids = self.ids[self.done : self.done + length]
        return Piece(slot, self.done, ids, self.reads_every, length == self.remaining, self._common, self._shares)

    def why_not(self) -> Exception | None:
        """Why the row is not to be computed any more: its time is over, or its constraint can't be followed."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            return DeadlineError("the answer was given up before it was finished", fix="ask for fewer tokens")
        if self._matcher is not None and self._matcher.failure is not None:
            return RequestError(f"the constraint can't be followed: it {self._matcher.failure}")
        return None

    def uniform(self) -> float:
        """The row's number in [0, 1) for its next token."""
        return uniform(self.stream.seed, self._which, self._made)

    def adjust(self, logits_V: Tensor) -> None:
        """Bias, penalties, constraint, no end before its time, in place."""
        self._adjustment.apply(logits_V)
        if self._made < self.sampling.min_tokens:
            logits_V[[token for token in self._ends if 0 <= token < len(logits_V)]] = float("-inf")
        if self._matcher is not None:
            self._matcher.mask(logits_V)

    def read(self, logits_TV: Tensor) -> None:
        """Logits after each of some tokens of the prompt: they are of the tokens that come next there."""
        start = self.done - len(logits_TV) + 1
        nexts = self.ids[start : min(self.done + 1, self.prompt)]
        told = describe(logits_TV[: len(nexts)], nexts, self.sampling.logprobs or 0, self._pieces)
        self._logprobs += told
        self.stream.put(Delta("", (), tuple(told)))

    def push(self, token: int, logits_V: Tensor) -> None:
        """Take the next token, and tell the stream; not where the constraint has failed, which ends the row."""
        if self._matcher is not None and self._matcher.failure is not None:
            return
        if not self.limit:  # the prompt was all that was asked for
            self.ended = "length"
            self.stream.put(Delta("", finish_reason=self.ended, prompt_tokens=self.prompt))
            return
        if self._known:
            self._take(self._known.popleft())
            while self._at_once and self._known and self.ended is None:
                self._take(self._known.popleft())
            if self.ended is not None:
                self.stream.put(Delta("", finish_reason=self.ended, prompt_tokens=self.prompt))
            return
        told: tuple[TokenLogprob, ...] = ()
        if self.sampling.logprobs is not None:
            told = tuple(describe(logits_V[None], [token], self.sampling.logprobs, self._pieces))
            self._logprobs += told
        text = self._take(token)
        self.stream.put(Delta(text, (token,), told, self.ended, self.prompt if self.ended else 0))

    def finish(self) -> None:
        """The answer is whole, and its slot free: say so."""
        assert self.ended is not None
        self.stream.end(self._completion(self.ended))

    @property
    def _made(self) -> int:
        return len(self.ids) - self.prompt

    def _take(self, token: int) -> str:
        """Add a token; the text that is certain now."""
        early = self._made < self.sampling.min_tokens
        self.ids.append(token)
        self._adjustment.push(token)
        if self._matcher is not None:
            self._matcher.push(token)
        if token in self._ends:
            self.ended, text = "stop", self._stops.flush()
        else:
            text = self._detokenizer.push(token)
            text = text if early else self._stops.push(text)
            if self._stops.stopped or (self._matcher is not None and self._matcher.complete):
                self.ended = "stop"
            elif self._made >= self.limit:
                self.ended = "length"
            text += self._stops.flush() if self.ended else ""
        self._text.append(text)
        return text

    def _echo(self, prompt: Sequence[int]) -> None:
        """The answer begins with the prompt; its <s> has no text."""
        text = b"".join(self._pieces[token] for token in prompt).decode("utf-8", "replace")
        self._text.append(text)
        if self.sampling.logprobs is not None:
            self._logprobs.append(TokenLogprob(prompt[0], self._pieces[prompt[0]], None))
        self.stream.put(Delta(text, (), tuple(self._logprobs)))

    def _completion(self, reason: FinishReason) -> Completion:
        logprobs = None if self.sampling.logprobs is None else tuple(self._logprobs)
        answer = self.ids[self.prompt :]
        return Completion("".join(self._text), self.prompt, len(answer), reason, tuple(answer), logprobs)
