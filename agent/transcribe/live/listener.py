"""Transcription while the call goes on: it only makes the job fast that transcribes the finished recording.

Of each call that is recorded on this host the windows that nothing can change any more go to the batcher of the jobs,
behind the calls that have just ended, and what is answered is kept under the digest of the sound (`soundkeys.py`). The
job plans as always and takes the answers that are there. So nothing depends on any of this: a killed worker, a clock
that was found to be off, a pause that became known late only leave more to the job.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from agent.errors import CardlineError, DatabaseUnavailable
from agent.store import callnames, glossary, livespeech
from agent.store.engine import Store
from agent.store.livespeech import LiveAnswer
from agent.transcribe.answers import AnswerSeal, pack_weights, unpack_weights
from agent.transcribe.batcher import Answer, Batcher, Cores
from agent.transcribe.engine import Engine
from agent.transcribe.hints import make_hints
from agent.transcribe.live.call import FollowedCall, HeardWindow, OngoingCalls
from agent.transcribe.models.choosing import hints_for, model_of
from agent.transcribe.soundkeys import SoundKeys
from agent.transcribe.speech.planning import LANGUAGE_WINDOWS, FindSpeech, Weights, longest_of, weigh

log = structlog.get_logger()

MOST_CALLS = 100  # followed at a time; of one call 10 MB may be held
MOST_WAITING_SECONDS = 900.0  # of sound that nobody recognised yet, 58 MB; what is more is left to the job
AHEAD_SECONDS = 60.0  # while so much of finished calls waits, nothing of those in progress is handed in
_AS_IF_OLDER = 86_400.0  # seconds by which a call in progress stands behind one that has ended
_ROUND_SECONDS = 1.0
_LOOK_AGAIN_SECONDS = 5.0
_SHARE_OF_LOOKING = 0.05  # of a core, for one call: a look at a long one takes seconds
_AFTER_FAULT_SECONDS = 30.0
_CLEAN_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ear:
    """What of transcription it works with: the models with their batcher, what finds speech, and the keys."""

    open: Callable[[], tuple[Engine, Batcher]]
    cores: Cores
    find: FindSpeech
    keys: SoundKeys
    seal: AnswerSeal
    languages: tuple[str, ...]


class LiveListener:
    """Follows the calls of this host from `run`, until it is cancelled."""

    def __init__(self, store: Store, calls: OngoingCalls, ear: Ear, *, marks: Path) -> None:
        """``marks``: a folder with a file for each call whose sound is being read, so that one which kills the process
        is followed no more."""
        self._store, self._calls, self._ear, self._marks = store, calls, ear, marks
        self._followed: dict[str, FollowedCall] = {}
        self._looks: dict[str, float] = {}  # when to look at a call next
        self._passed_over = _marked(marks)
        self._waiting: deque[tuple[FollowedCall, HeardWindow]] = deque()
        self._asking: set[asyncio.Task[None]] = set()
        self._handed_in: dict[str, set[Answer]] = {}
        self._cleaned = 0.0

    async def run(self) -> None:
        """Go round for ever; whatever fails is tried again."""
        try:
            while True:
                try:
                    await self.go_round(time.time())
                    await asyncio.sleep(_ROUND_SECONDS)
                except (CardlineError, OSError) as error:
                    log.warning("live_transcription_waits", reason=str(error))
                    await asyncio.sleep(_AFTER_FAULT_SECONDS)
                except Exception:
                    log.exception("live_transcription_failed")
                    await asyncio.sleep(_AFTER_FAULT_SECONDS)
        finally:
            for task in self._asking:
                task.cancel()

    async def go_round(self, now: float) -> None:
        """Look at each call that may have something new by ``now``, and hand in what was heard.

        Raises:
            CardlineError: the database or the model is away.
        """
        ids = set(await asyncio.to_thread(self._calls.list_ids))
        for gone in self._passed_over - ids:
            self._passed_over.discard(gone)
            (self._marks / gone).unlink(missing_ok=True)
        for gone in self._followed.keys() - ids:
            self._drop(gone)
        for capture_id in sorted(ids - self._followed.keys() - self._passed_over):
            if len(self._followed) < MOST_CALLS:
                await self._begin(capture_id)
        for one in list(self._followed.values()):
            await self._look(one, now)
        await self._hand_in()
        if now - self._cleaned > _CLEAN_SECONDS:
            self._cleaned = now
            async with self._store.begin() as connection:
                await livespeech.forget_old(connection)

    @property
    def waiting_seconds(self) -> float:
        """How much was heard that nobody was asked about yet."""
        return sum(each.seconds for _, each in self._waiting)

    async def settle(self) -> None:
        """Wait until all that was heard is answered; for tests and benchmarks."""
        while self._waiting or self._asking:
            await self._hand_in()
            if self._asking:
                await asyncio.wait(self._asking)

    async def _begin(self, capture_id: str) -> None:
        call = await asyncio.to_thread(self._calls.open, capture_id)
        await asyncio.to_thread(call.refresh)
        if call.ended:
            self._passed_over.add(capture_id)
            return
        engine, _ = await asyncio.to_thread(self._ear.open)
        async with self._store.begin() as connection:
            known = await livespeech.list_answers(connection, capture_id)
        self._followed[capture_id] = FollowedCall(
            capture_id=capture_id,
            call=call,
            join_seconds=await asyncio.to_thread(lambda: engine.join_seconds),
            find=self._ear.find,
            keys=self._ear.keys,
            known=known,
            language=self._ear.languages[0] if len(self._ear.languages) == 1 else "",
        )
        self._looks[capture_id] = 0.0

    def _drop(self, capture_id: str, *, passed_over: bool = False) -> None:
        """What nobody has begun with is left to the job, which is about to ask for it."""
        one = self._followed.pop(capture_id)
        for answer in self._handed_in.pop(capture_id, set()):
            answer.cancel()
        del self._looks[capture_id]
        if passed_over:
            self._passed_over.add(capture_id)
        self._waiting = deque(each for each in self._waiting if each[0] is not one)

    async def _look(self, one: FollowedCall, now: float) -> None:
        if await asyncio.to_thread(one.refresh, now):
            await self._forget_paused(one)
        if one.call.ended:
            self._drop(one.capture_id, passed_over=True)
            return
        if now < self._looks[one.capture_id]:
            return
        began = time.monotonic()
        try:
            found = await asyncio.to_thread(self._hear, one, now)
        except Exception as error:  # whatever strangers have sent: this call is left to the job
            log.warning("live_call_left_to_the_job", capture_id=one.capture_id, reason=repr(error))
            self._drop(one.capture_id, passed_over=True)
            return
        due = one.call.due()
        rested = now + (time.monotonic() - began) / _SHARE_OF_LOOKING
        self._looks[one.capture_id] = max(due if due > now else now + _LOOK_AGAIN_SECONDS, rested)
        await self._note(one)
        await self._decide(one, found)

    def _hear(self, one: FollowedCall, now: float) -> list[HeardWindow]:
        mark = self._marks / one.capture_id
        mark.parent.mkdir(mode=0o700, exist_ok=True)
        mark.touch()
        with self._ear.cores.taken():
            found = one.hear(now)
        mark.unlink()
        return found

    async def _forget_paused(self, one: FollowedCall) -> None:
        one.fresh = [each for each in one.fresh if not one.touches_pause(each.begins, each.ends)]
        one.undecided = [each for each in one.undecided if not one.touches_pause(each.begins, each.ends)]
        one.longest = [each for each in one.longest if not one.touches_pause(each.begins, each.ends)]
        async with self._store.begin() as connection:
            for begins, ends in one.paused:
                await livespeech.forget_between(connection, one.capture_id, begins, ends)

    async def _decide(self, one: FollowedCall, found: list[HeardWindow]) -> None:
        """The language of a call is that of its first windows: in doubt, of three."""
        one.undecided += found
        if found and len(self._ear.languages) > 1:
            engine, _ = await asyncio.to_thread(self._ear.open)
            one.fresh += await asyncio.to_thread(self._weigh, one, found, engine)
            await self._note(one)
        if one.language:
            self._waiting += [(one, each) for each in one.undecided]
            one.undecided = []
            while self.waiting_seconds > MOST_WAITING_SECONDS:
                self._waiting.popleft()

    def _weigh(self, one: FollowedCall, found: list[HeardWindow], engine: Engine) -> list[LiveAnswer]:
        """Find the language, and ask of the longest windows what the job will ask of them; what is new of that."""
        told: dict[bytes, LiveAnswer] = {}
        with self._ear.cores.taken():
            if not one.language:
                heard = self._weighed(one, one.undecided, engine, told)
                language, sure = weigh(heard, engine.name, self._ear.languages)
                if sure or len(one.undecided) >= LANGUAGE_WINDOWS:
                    one.language = language
            one.longest = longest_of([*one.longest, *found])
            weigh(self._weighed(one, one.longest, engine, told), engine.name, self._ear.languages)
            one.longest = [replace(each, sound=each.sound[:0].copy()) for each in one.longest]
        return [each for each in told.values() if not one.touches_pause(each.begins, each.ends)]

    def _weighed(
        self, one: FollowedCall, windows: Sequence[HeardWindow], engine: Engine, told: dict[bytes, LiveAnswer]
    ) -> Iterator[tuple[Weights, float]]:
        """How likely each language is in these windows, up to the first whose sound is gone and nobody has asked."""
        for each in windows:
            key = self._ear.keys.of_weighing(each.print, model=engine.name)
            known = told[key].answer if key in told else one.answered(key)
            if known is None:
                if not len(each.sound):
                    return
                known = pack_weights(engine.weigh_languages(each.sound))
                told[key] = LiveAnswer(key=key, answer=known, begins=each.begins, ends=each.ends)
            yield unpack_weights(known), each.seconds

    async def _hand_in(self) -> None:
        """As many windows as the engine takes at once, unless calls that have ended wait for it."""
        if not self._waiting:
            return
        engine, batcher = await asyncio.to_thread(self._ear.open)
        most = 2 * engine.batch * engine.lanes
        while self._waiting and len(self._asking) < most:
            one, window = self._waiting[0]
            if batcher.waiting_seconds(_rank(one) - 1.0) > AHEAD_SECONDS:
                return
            self._waiting.popleft()
            if one.touches_pause(window.begins, window.ends):
                continue
            task = asyncio.create_task(self._ask(one, window, engine, batcher))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _ask(self, one: FollowedCall, window: HeardWindow, engine: Engine, batcher: Batcher) -> None:
        try:
            async with self._store.begin() as connection:
                names = await callnames.find_names_so_far(connection, one.capture_id)
                words = await glossary.find_glossary(connection)
            hints = await asyncio.to_thread(hints_for, engine, one.language, make_hints(names, words))
            model = model_of(engine, one.language)
            key = self._ear.keys.of_question(window.print, model=model, language=one.language, hints=hints)
            if key in one.known:
                return
            asked = batcher.submit(
                lambda: window.sound, seconds=window.seconds, language=one.language, hints=hints, rank=_rank(one)
            )
            self._handed_in.setdefault(one.capture_id, set()).add(asked)
            answer = await asyncio.wrap_future(asked)
            self._handed_in.get(one.capture_id, set()).discard(asked)
            sealed = self._ear.seal.seal(answer, recording_id=0, key=key)
            if not one.touches_pause(window.begins, window.ends):
                one.fresh.append(LiveAnswer(key=key, answer=sealed, begins=window.begins, ends=window.ends))
                await self._note(one)
        except Exception as error:
            log.warning("live_window_left_to_the_job", capture_id=one.capture_id, reason=repr(error))

    async def _note(self, one: FollowedCall) -> None:
        """Write down what is new; what belongs to a call that the database does not know yet is kept for later."""
        fresh, one.fresh = one.fresh, []
        if not fresh:
            return
        try:
            async with self._store.begin(redoable=True) as connection:
                kept = await livespeech.keep(connection, one.capture_id, fresh)
        except DatabaseUnavailable:
            kept = False
        if kept:
            one.known |= {each.key: each.answer for each in fresh}
        else:
            one.fresh = fresh + one.fresh


def _marked(marks: Path) -> set[str]:
    try:
        return {one.name for one in marks.iterdir()}
    except FileNotFoundError:
        return set()


def _rank(one: FollowedCall) -> float:
    return -(one.call.begins - _AS_IF_OLDER)
