"""Windows of several calls gathered into batches for one engine, by a few threads that take the newest call first.

Whoever has a call hands in its windows in order of time and gets futures. The sound of a window is cut when a batch is
made, so that what waits takes no memory. Live calls may hand in theirs beside those of finished ones.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

import structlog

from agent.transcribe.engine import Engine, Hints, Recognised, Sound

log = structlog.get_logger()

Answer: TypeAlias = "Future[list[Recognised]]"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Waiting:
    """A window; of the lowest ``rank`` is the next to be heard."""

    rank: tuple[float, int]
    cut: Callable[[], Sound]
    seconds: float
    language: str
    hints: Hints
    answer: Answer


class Cores:
    """The threads that transcription may keep busy at a time, shared by all that computes in this process."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._free = threads
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, threads: int = 1) -> Iterator[None]:
        """Wait until so many are free, and have them for the length of the block."""
        wanted = min(threads, self.threads)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


class Batcher:
    """Threads that feed an engine; started with the first window, ended by `close`."""

    def __init__(self, engine: Engine, cores: Cores, *, unload_seconds: float = 0.0) -> None:
        """After ``unload_seconds`` without a window the engine gives its memory back; 0: it keeps it."""
        self._engine = engine
        self._cores = cores
        self._unload_seconds = unload_seconds
        self._waiting: list[_Waiting] = []
        self._busy = 0
        self._used: float | None = None  # when the engine was last in use, as long as it may be loaded
        self._numbers = count()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    def submit(
        self, cut: Callable[[], Sound], *, seconds: float, language: str, hints: Hints, rank: float = 0.0
    ) -> Answer:
        """Have a window of ``seconds`` recognised. A lower ``rank`` goes first, then what came first.

        The future raises what the engine or ``cut`` raised; a window that is not wanted any more may be cancelled.
        """
        answer: Answer = Future()
        with self._changed:
            if self._is_closed:
                raise RuntimeError("the batcher is closed")
            one = _Waiting(
                rank=(rank, next(self._numbers)),
                cut=cut,
                seconds=seconds,
                language=language,
                hints=hints,
                answer=answer,
            )
            self._waiting.append(one)
            self._start()
            self._changed.notify()
        return answer

    def waiting_seconds(self, rank: float) -> float:
        """How many seconds of sound wait that go before one of this rank, or with it."""
        with self._changed:
            return sum(one.seconds for one in self._waiting if one.rank[0] <= rank)

    def close(self) -> None:
        """End the threads after the batches they are at; what waits is cancelled."""
        with self._changed:
            self._is_closed = True
            waiting, self._waiting = self._waiting, []
            self._changed.notify_all()
        for one in waiting:
            one.answer.cancel()
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        if not self._threads:
            lanes = self._engine.lanes
            self._threads = [
                threading.Thread(target=self._work, name=f"speech-{number}", daemon=True) for number in range(lanes)
            ]
            for thread in self._threads:
                thread.start()

    def _work(self) -> None:
        threads = max(1, self._cores.threads // self._engine.lanes)
        while (batch := self._next()) is not None:
            try:
                with self._cores.taken(threads):
                    self._recognise(batch)
            except Exception as error:  # an engine that answers otherwise than it should; the thread goes on
                log.exception("batch_lost")
                for one in batch:
                    if not one.answer.done():
                        one.answer.set_exception(error)
            finally:
                with self._changed:
                    self._busy -= 1
                    self._used = time.monotonic()
                    self._changed.notify_all()

    def _next(self) -> list[_Waiting] | None:
        """The next batch; None: closed. Who waits for one unloads the engine when it was idle for long."""
        with self._changed:
            while not self._waiting:
                if self._is_closed:
                    return None
                left = self._seconds_to_unloading()
                if left is not None and left <= 0:
                    self._used = None
                    self._engine.unload()
                else:
                    self._changed.wait(left)
            self._busy += 1
            return self._take()

    def _seconds_to_unloading(self) -> float | None:
        """None: there is nothing to unload, or it is in use."""
        if not self._unload_seconds or self._busy or self._used is None:
            return None
        return self._used + self._unload_seconds - time.monotonic()

    def _take(self) -> list[_Waiting]:
        """The first in rank, and of those that fit it the ones nearest in length, for they cost least together. Windows
        of other hints fit no better than those of another language: a batch has one prompt (`engines.hearing`)."""
        first = min(self._waiting, key=lambda one: one.rank)
        fitting = [one for one in self._waiting if (one.language, one.hints) == (first.language, first.hints)]
        fitting.sort(key=lambda one: (one is not first, abs(one.seconds - first.seconds), one.rank))
        batch = fitting[: max(1, self._engine.batch)]
        chosen = set(map(id, batch))
        self._waiting = [one for one in self._waiting if id(one) not in chosen]
        return batch

    def _recognise(self, batch: list[_Waiting]) -> None:
        wanted = [one for one in batch if one.answer.set_running_or_notify_cancel()]
        heard: list[tuple[_Waiting, Sound]] = []
        for one in sorted(wanted, key=lambda one: one.rank):  # a long call is decoded forwards
            try:
                heard.append((one, one.cut()))
            except Exception as error:
                one.answer.set_exception(error)
        if heard:
            self._answer(heard)

    def _answer(self, heard: list[tuple[_Waiting, Sound]]) -> None:
        """Where a batch fails each window is tried by itself, so that one that cannot be heard costs its call only."""
        first = heard[0][0]
        try:
            answers = self._engine.recognise([sound for _, sound in heard], first.language, first.hints)
        except Exception as error:
            if len(heard) > 1 and isinstance(error, RuntimeError):
                log.warning("batch_failed", windows=len(heard), reason=repr(error))
                for alone in heard:
                    self._answer([alone])
                return
            for one, _ in heard:
                one.answer.set_exception(error)
            return
        for (one, _), answer in zip(heard, answers, strict=True):
            one.answer.set_result(answer)
