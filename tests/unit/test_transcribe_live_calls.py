"""Calls whose packet logs grow, followed by the real listener, on a real database, by the tests' model; then their
recordings are assembled and transcribed. Time is what the test says it is."""

from __future__ import annotations

import asyncio
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.settings import Settings, TranscribeSettings
from agent.sip.assembler import Assembler
from agent.sip.calls import captured_call
from agent.sip.journal import CLOSED, read_journal
from agent.sip.ongoing import OngoingCalls
from agent.sip.sounding import PAUSED, RESUMED
from agent.store import livespeech, recordings, transcripts
from agent.store.engine import Store
from agent.transcribe.answers import AnswerSeal, unpack_speech
from agent.transcribe.batcher import Batcher, Cores
from agent.transcribe.engine import NO_HINTS, Hints, Recognised, Sound
from agent.transcribe.live.listener import Ear, LiveListener
from agent.transcribe.models.fetching import TINY_DEMO
from agent.transcribe.soundkeys import SoundKeys
from agent.transcribe.speech.speechfinder import find_speech
from agent.transcribe.transcriber import Transcriber
from tests.unit.soundlab import EPOCH, Sent, stream, write_log
from tests.unit.test_sip_assembler import Call
from tests.unit.test_transcribe_speech import CALLS, PARTIES, SOUND, Track, track

SECONDS = 165


class ScriptedEngine:
    """Writes down other words for any other sound, so that a sample more or less is seen; counts what it is asked."""

    name, join_seconds, batch, lanes = TINY_DEMO, 20.0, 4, 1

    def __init__(self) -> None:
        self.asked = self.weighed = 0
        self.sure = True
        self.let = threading.Event()
        self.let.set()

    def weigh_languages(self, sound: Sound) -> Mapping[str, float]:
        self.weighed += 1
        russian = 0.99 if self.sure else 0.3 + zlib.crc32(sound.tobytes()) % 100 / 300
        return {"ru": russian, "en": 1.0 - russian}

    def recognise(self, windows: Sequence[Sound], language: str, hints: Hints) -> list[list[Recognised]]:
        assert self.let.wait(60)
        self.asked += len(windows)
        return [[self._heard(sound)] for sound in windows]

    def _heard(self, sound: Sound) -> Recognised:
        number = zlib.crc32(sound.tobytes())
        text = "".join("абвгдежзик"[int(digit)] for digit in str(number))
        return Recognised(
            start=0.0, end=len(sound) / 16000, text=text, no_speech=0.0, log_probability=-0.1, compression=1.0
        )

    def unload(self) -> None: ...


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture(scope="module")
def spoken() -> list[Track]:
    """What the parties of the demo's Russian calls say, over and over with pauses, a track a party."""
    calls = [one for one in CALLS if one["language"] == "ru"]
    tracks: list[list[Track]] = [[], []]
    length = 0
    while length < SECONDS * 8000:
        for call in calls:
            pair = [track(SOUND / call["files"][party]) for party in PARTIES]
            longest = max(map(len, pair)) + 4000
            for kept, one in zip(tracks, pair, strict=True):
                kept.append(np.pad(one, (0, longest - len(one))))
            length += longest
    return [np.concatenate(one)[: SECONDS * 8000] for one in tracks]


class LiveCall(Call):
    """A call that goes on as the test tells it."""

    def __init__(self, data_dir: Path, streams: Sequence[Sequence[Sent]]) -> None:
        (data_dir / "captures").mkdir(exist_ok=True)
        super().__init__(data_dir / "captures")
        self._data_dir, self._streams = data_dir, streams
        for index in range(len(streams)):
            self.stream(0.2, index)

    def goes_on(self, second: float) -> None:
        """What came before this second is in the logs; a torn record is at their ends."""
        for index, packets in enumerate(self._streams):
            path = self.folder / f"{index}.rtpdump"
            path.unlink(missing_ok=True)
            write_log(path, [one for one in packets if one.at < second])
            with path.open("ab") as file:
                file.write(b"\x00\xb4\x00")

    async def open(self, intake: Intake) -> int:
        return await intake.open_call(captured_call(read_journal(self.folder), self.capture_id))

    async def ends(self, store: Store, archive: Archive, intake: Intake) -> recordings.Recording:
        """Hang up, and have the recording assembled."""
        self.goes_on(SECONDS + 1)
        self.note(SECONDS, CLOSED, by="bye")
        interaction_id = await intake.close_call(captured_call(read_journal(self.folder), self.capture_id))
        await Assembler(store, archive, self._data_dir / "captures").assemble(self.capture_id)
        async with store.begin() as connection:
            (found,) = await recordings.list_recordings(connection, [interaction_id])
        return found


def transcriber_of(store: Store, archive: Archive, data_dir: Path, engine: ScriptedEngine) -> Transcriber:
    settings = Settings(data_dir=data_dir, transcribe=TranscribeSettings(model=TINY_DEMO, threads=1))
    return Transcriber(store, archive, settings, engine=engine)


def listener_of(transcriber: Transcriber, data_dir: Path) -> LiveListener:
    return transcriber.listener(OngoingCalls(data_dir / "captures"))


async def follow(listener: LiveListener, call: LiveCall, *seconds: float) -> None:
    """Let the call go on to each of these seconds, with a look at it each time."""
    for second in seconds:
        call.goes_on(second)
        await listener.go_round(EPOCH + second)
        await listener.settle()


async def rows_of(store: Store, call: LiveCall) -> Mapping[bytes, bytes]:
    async with store.begin() as connection:
        return await livespeech.list_answers(connection, call.capture_id)


Said = list[tuple[int, float, float, str]]


async def both_transcripts(
    store: Store, transcriber: Transcriber, engine: ScriptedEngine, recording: recordings.Recording
) -> tuple[Said, Said, int, int]:
    """What the job makes with what was heard live, what it makes without; and how many windows each had to ask for."""
    asked = []
    for number in range(2):
        before = engine.asked
        await transcriber.transcribe(recording.id, TINY_DEMO if number else "", number)
        asked.append(engine.asked - before)
    async with store.begin() as connection:
        found = await transcripts.list_transcripts(connection, [recording.interaction_id], every=True)
    said = {each.round: [(one.channel, one.start, one.end, one.text) for one in each.utterances] for each in found}
    assert said[1]
    return said[0], said[1], asked[0], asked[1]


def streams_of(spoken: Sequence[Track]) -> list[list[Sent]]:
    return [stream(one, at=0.3 + 0.01 * index) for index, one in enumerate(spoken)]


async def test_what_was_heard_live_is_what_the_job_would_have_heard(
    store: Store, archive: Archive, intake: Intake, engine: ScriptedEngine, spoken: list[Track], tmp_path: Path
) -> None:
    call = LiveCall(tmp_path, streams_of(spoken))
    await call.open(intake)
    transcriber = transcriber_of(store, archive, tmp_path, engine)
    listener = listener_of(transcriber, tmp_path)
    await follow(listener, call, 20, 40, 70, 71, 100, 130, 160)
    assert len(await rows_of(store, call)) > 10
    recording = await call.ends(store, archive, intake)
    await listener.go_round(EPOCH + SECONDS)
    live, alone, left, all_ = await both_transcripts(store, transcriber, engine, recording)
    assert live == alone
    assert left <= 4 < all_  # the window of each channel that was open, and the last half minute
    assert await rows_of(store, call) == {}


@pytest.mark.parametrize("sure", [True, False])
async def test_the_language_is_told_at_the_end_by_what_was_said_of_it_live(
    store: Store,
    archive: Archive,
    intake: Intake,
    engine: ScriptedEngine,
    spoken: list[Track],
    tmp_path: Path,
    sure: bool,
) -> None:
    """Of the windows that the finished recording is judged by, in doubt three; nothing else is taken for it."""
    engine.sure = sure
    call = LiveCall(tmp_path, streams_of(spoken))
    await call.open(intake)
    transcriber = transcriber_of(store, archive, tmp_path, engine)
    listener = listener_of(transcriber, tmp_path)
    await follow(listener, call, 40, 70, 100, 130, 160)
    recording = await call.ends(store, archive, intake)
    await listener.go_round(EPOCH + SECONDS)
    weighed = []
    for number in range(2):
        before = engine.weighed
        await transcriber.transcribe(recording.id, TINY_DEMO if number else "", number)
        weighed.append(engine.weighed - before)
    async with store.begin() as connection:
        found = await transcripts.list_transcripts(connection, [recording.interaction_id], every=True)
    assert len({one.language for one in found}) == 1
    assert weighed[1] == (1 if sure else 3)
    assert weighed[0] < weighed[1]


async def test_a_worker_that_dies_during_the_call_leaves_what_it_heard_to_the_next(
    store: Store, archive: Archive, intake: Intake, engine: ScriptedEngine, spoken: list[Track], tmp_path: Path
) -> None:
    call = LiveCall(tmp_path, streams_of(spoken))
    await call.open(intake)
    await follow(listener_of(transcriber_of(store, archive, tmp_path, engine), tmp_path), call, 40, 70, 100)
    before, asked = await rows_of(store, call), engine.asked
    transcriber = transcriber_of(store, archive, tmp_path, engine)
    again = listener_of(transcriber, tmp_path)
    await follow(again, call, 101)
    assert (await rows_of(store, call), engine.asked) == (before, asked)  # nothing was heard twice
    await follow(again, call, 130, 160)
    live, alone, left, all_ = await both_transcripts(
        store, transcriber, engine, await call.ends(store, archive, intake)
    )
    assert live == alone
    assert left <= 4 < all_


async def test_a_call_that_killed_a_worker_is_left_to_the_job(
    store: Store, archive: Archive, intake: Intake, engine: ScriptedEngine, spoken: list[Track], tmp_path: Path
) -> None:
    call = LiveCall(tmp_path, streams_of(spoken))
    await call.open(intake)
    (tmp_path / "followed").mkdir()
    (tmp_path / "followed" / call.capture_id).touch()
    listener = listener_of(transcriber_of(store, archive, tmp_path, engine), tmp_path)
    await follow(listener, call, 40, 70, 100)
    assert await rows_of(store, call) == {}
    await call.ends(store, archive, intake)
    await listener.go_round(EPOCH + SECONDS)
    assert list((tmp_path / "followed").iterdir()) == []


@pytest.mark.parametrize("known_late", [False, True])
async def test_nothing_of_a_pause_is_kept(
    store: Store,
    archive: Archive,
    intake: Intake,
    engine: ScriptedEngine,
    spoken: list[Track],
    tmp_path: Path,
    known_late: bool,
) -> None:
    """Also where the pause becomes known only when its sound was recognised already."""
    call = LiveCall(tmp_path, streams_of(spoken))
    await call.open(intake)
    transcriber = transcriber_of(store, archive, tmp_path, engine)
    listener = listener_of(transcriber, tmp_path)
    await follow(listener, call, 40, *([70, 100] if known_late else []))
    call.note(41, PAUSED, by="api")
    call.note(60, RESUMED, by="api")
    await follow(listener, call, 101, 130, 160)
    async with store.begin() as connection:
        touching = await connection.execute(
            text("SELECT answer FROM live_answer WHERE capture_id = :id AND begins_at < :ends AND ends_at > :begins"),
            {"id": call.capture_id, "begins": moment(41), "ends": moment(60)},
        )
        assert all(is_speech_only(bytes(row.answer)) for row in touching)
    live, alone, left, all_ = await both_transcripts(
        store, transcriber, engine, await call.ends(store, archive, intake)
    )
    assert live == alone
    assert left < all_


def is_speech_only(answer: bytes) -> bool:
    """Whether it only says where somebody spoke beside the pause, and no words."""
    return answer.startswith(b"[") and all(one.end <= 60 for one in unpack_speech(answer))


def moment(second: float) -> datetime:
    return datetime.fromtimestamp(EPOCH, UTC) + timedelta(seconds=second)


async def test_a_network_that_delays_and_loses_packets_costs_time_but_no_words(
    store: Store, archive: Archive, intake: Intake, engine: ScriptedEngine, spoken: list[Track], tmp_path: Path
) -> None:
    """Delays of 60 ms, losses, a clock that is 300 ppm off and a second source: what was heard of sound that turns out
    to lie elsewhere is not taken."""
    chance = np.random.default_rng(1)
    streams = []
    for packets in streams_of(spoken):
        kept = [one for one in packets if chance.random() > 0.01]
        late = [replace(one, at=(one.at) * 1.0003 + float(chance.gamma(2, 0.01))) for one in kept]
        streams.append(sorted(late, key=lambda one: one.at))
    middle = len(streams[0]) // 2
    streams[0][middle:] = [replace(one, ssrc=0x77, timestamp=one.timestamp + 99999) for one in streams[0][middle:]]
    call = LiveCall(tmp_path, streams)
    await call.open(intake)
    transcriber = transcriber_of(store, archive, tmp_path, engine)
    await follow(listener_of(transcriber, tmp_path), call, 40, 70, 100, 130, 160)
    live, alone, left, all_ = await both_transcripts(
        store, transcriber, engine, await call.ends(store, archive, intake)
    )
    assert live == alone
    assert left <= all_


async def test_calls_that_have_ended_go_first(
    store: Store, archive: Archive, intake: Intake, engine: ScriptedEngine, spoken: list[Track], tmp_path: Path
) -> None:
    """While too much of them waits nothing of a call in progress is handed in, and nothing of it is lost."""
    call = LiveCall(tmp_path, streams_of(spoken))
    await call.open(intake)
    engine.let.clear()
    batcher = Batcher(engine, Cores(1))
    now = time.time()
    for _ in range(8):
        batcher.submit(lambda: np.zeros(160, np.float32), seconds=28.0, language="ru", hints=NO_HINTS, rank=-now)
    listener = held_listener(store, archive, tmp_path, engine, batcher)
    for second in (40, 70, 100):
        call.goes_on(second)
        await listener.go_round(EPOCH + second)
    waiting = listener.waiting_seconds
    assert waiting > 0
    engine.let.set()
    await asyncio.to_thread(batcher_is_free, batcher)
    await listener.settle()
    assert listener.waiting_seconds == 0
    assert len(await rows_of(store, call)) > 6
    batcher.close()


async def test_what_nobody_has_begun_with_is_the_jobs_after_the_hang_up(
    store: Store, archive: Archive, intake: Intake, engine: ScriptedEngine, spoken: list[Track], tmp_path: Path
) -> None:
    call = LiveCall(tmp_path, streams_of(spoken))
    await call.open(intake)
    engine.let.clear()
    batcher = Batcher(engine, Cores(1))
    listener = held_listener(store, archive, tmp_path, engine, batcher)
    for second in (70, 160, 160.5):
        call.goes_on(second)
        await listener.go_round(EPOCH + second)
    recording = await call.ends(store, archive, intake)
    await listener.go_round(EPOCH + SECONDS)
    assert listener.waiting_seconds == 0
    engine.let.set()
    await listener.settle()
    batcher.close()
    before = engine.asked
    assert before <= engine.batch  # what was under way already
    transcriber = transcriber_of(store, archive, tmp_path, engine)
    live, alone, left, all_ = await both_transcripts(store, transcriber, engine, recording)
    assert live == alone
    assert left >= all_ - engine.batch


def held_listener(
    store: Store, archive: Archive, data_dir: Path, engine: ScriptedEngine, batcher: Batcher
) -> LiveListener:
    """With cores of its own, so that it hears while the engine is held."""
    ear = Ear(
        open=lambda: (engine, batcher),
        cores=Cores(1),
        find=find_speech,
        keys=SoundKeys(archive.keys),
        seal=AnswerSeal(archive.keys),
        languages=("ru",),
    )
    return LiveListener(store, OngoingCalls(data_dir / "captures"), ear, marks=data_dir / "followed")


def batcher_is_free(batcher: Batcher) -> None:
    while batcher.waiting_seconds(0.0):
        time.sleep(0.01)


async def test_a_log_may_grow_while_it_is_read(intake: Intake, spoken: list[Track], tmp_path: Path) -> None:
    """Both passes over it read the same: what came between them is for the next look."""
    streams = streams_of(spoken)
    call = LiveCall(tmp_path, streams)
    await call.open(intake)
    call.goes_on(70)
    ongoing = OngoingCalls(tmp_path / "captures").open(call.capture_id)
    ongoing.refresh()
    found = ongoing.blocks(EPOCH + 70)
    first = next(found)
    for index, packets in enumerate(streams):
        write_log(call.folder / f"{index}.rtpdump", [one for one in packets if 70 <= one.at < 140])
    assert len(np.concatenate([first, *found])) == 66 * 8000
