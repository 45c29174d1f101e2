"""One call's windows through the batcher: those that were not answered yet, with what comes kept now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.store import transcriptions
from agent.store.engine import Store
from agent.transcribe.answers import AnswerSeal, window_key
from agent.transcribe.batcher import Batcher
from agent.transcribe.dialogue import Plan, Planned
from agent.transcribe.engine import Hints, Recognised, Sound
from agent.transcribe.speech.channels import Channel

_NOTED_SECONDS = 5.0  # a kill costs no more work than this; a short call is done before and never written down
_LONG_SECONDS = 1200.0  # channels of longer calls are decoded as they are asked for, so in order of time


@dataclass(frozen=True, slots=True, kw_only=True)
class CallWork:
    """What is to be recognised: the plan of a recording, in one language, by one model.

    ``known`` has answers to some of its windows, by their keys (`answers.window_key`).
    """

    recording_id: int
    plan: Plan
    channels: Sequence[Channel]
    model: str
    language: str
    hints: Hints
    rank: float
    known: Mapping[bytes, list[Recognised]] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Speech of all channels together."""
        return sum(one.window.seconds for one in self.plan.windows)


class WindowRunner:
    """Has windows recognised, a few of a call ahead of what is answered."""

    def __init__(self, store: Store, seal: AnswerSeal, *, noted_seconds: float = _NOTED_SECONDS) -> None:
        self._store, self._seal = store, seal
        self._noted_seconds = noted_seconds

    async def run(self, work: CallWork, batcher: Batcher, *, ahead: int) -> list[list[Recognised]]:
        """The answers to all windows in their order. Whatever ends it early, what was answered is kept.

        Raises:
            ModelUnavailable: the model cannot be loaded.
        """
        known = await self._known(work)
        notes = _Notes(self._store, self._seal, work, known, self._noted_seconds)
        waiting: dict[asyncio.Future[list[Recognised]], Planned] = {}
        try:
            for planned in work.plan.windows:
                if _key(work, planned) in known:
                    continue
                while len(waiting) >= ahead:
                    await _collect(waiting, notes)
                waiting[await _submit(work, planned, batcher)] = planned
            while waiting:
                await _collect(waiting, notes)
        except BaseException:
            for future in waiting:
                future.cancel()
            await asyncio.shield(notes.flush())
            raise
        return [notes.answers[_key(work, planned)] for planned in work.plan.windows]

    async def _known(self, work: CallWork) -> dict[bytes, list[Recognised]]:
        """What was answered while the call went on, and before the job was cut off."""
        if not work.plan.windows:
            return {}
        async with self._store.begin() as connection:
            sealed = await transcriptions.list_answers(connection, work.recording_id)
        opened = {key: self._seal.open(one, recording_id=work.recording_id, key=key) for key, one in sealed.items()}
        return {**work.known, **{key: answer for key, answer in opened.items() if answer is not None}}


class _Notes:
    """Answers of a call, and what of them is in the database."""

    def __init__(
        self,
        store: Store,
        seal: AnswerSeal,
        work: CallWork,
        known: Mapping[bytes, list[Recognised]],
        noted_seconds: float,
    ) -> None:
        self.answers = dict(known)
        self._store, self._seal, self._work = store, seal, work
        self._pause = noted_seconds
        self._fresh: dict[bytes, list[Recognised]] = {}
        self._noted = time.monotonic()

    async def take(self, planned: Planned, answer: list[Recognised]) -> None:
        """One more answer."""
        key = _key(self._work, planned)
        self.answers[key] = self._fresh[key] = answer
        if time.monotonic() - self._noted >= self._pause:
            await self.flush()

    async def flush(self) -> None:
        """Write down what is new. A power cut may take back the last half second of it, then that is done again."""
        if not self._fresh:
            return
        number, fresh = self._work.recording_id, self._fresh
        self._fresh, self._noted = {}, time.monotonic()
        sealed = {key: self._seal.seal(answer, recording_id=number, key=key) for key, answer in fresh.items()}
        done = sum(one.window.seconds for one in self._work.plan.windows if _key(self._work, one) in self.answers)
        async with self._store.begin(redoable=True) as connection:
            await transcriptions.note(connection, number, done=done, seconds=self._work.seconds, answers=sealed)


def _key(work: CallWork, planned: Planned) -> bytes:
    return window_key(planned, model=work.model, language=work.language)


async def _submit(work: CallWork, planned: Planned, batcher: Batcher) -> asyncio.Future[list[Recognised]]:
    """A long call is decoded forwards, so its windows are cut in their order; others when they are taken."""
    if work.plan.seconds > _LONG_SECONDS:
        sound = await asyncio.to_thread(planned.cut, work.channels)

        def cut() -> Sound:
            return sound
    else:

        def cut() -> Sound:
            return planned.cut(work.channels)

    seconds = planned.window.seconds
    answer = batcher.submit(cut, seconds=seconds, language=work.language, hints=work.hints, rank=work.rank)
    return asyncio.wrap_future(answer)


async def _collect(waiting: dict[asyncio.Future[list[Recognised]], Planned], notes: _Notes) -> None:
    """Take what has come; a failure is raised once everything else that came with it is taken."""
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for future in sorted(done, key=lambda one: one.exception() is not None):
        await notes.take(waiting.pop(future), future.result())
