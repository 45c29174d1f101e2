"""Windows of several calls in one batch, how much of a machine transcription takes, and answers that are kept."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from agent.archive.keys import KeyRing
from agent.model import Word
from agent.settings import Settings, TranscribeSettings
from agent.settings_asterisk import AsteriskSettings
from agent.transcribe.answers import AnswerSeal, window_key
from agent.transcribe.batcher import Batcher, Cores
from agent.transcribe.capacity.share import Turns, count_threads, night_begins
from agent.transcribe.engine import NO_HINTS, Hints, Recognised, Sound, Stretch
from agent.transcribe.speech.planning import Planned
from agent.transcribe.speech.windows import plan_windows

GOOD = Recognised(start=0.0, end=1.0, text="да", no_speech=0.01, log_probability=-0.2, compression=1.0)


class SlowEngine:
    """Notes its batches, and waits to be let on."""

    name = "slow"
    join_seconds = 0.0

    def __init__(self, *, batch: int = 4, lanes: int = 1) -> None:
        self.batch, self.lanes = batch, lanes
        self.batches: list[tuple[str, list[int]]] = []
        self.go = threading.Semaphore(0)
        self.begun = threading.Event()
        self.unloaded = threading.Event()
        self.broken: set[int] = set()

    def weigh_languages(self, sound: Sound) -> Mapping[str, float]:
        return {"ru": 1.0}

    def recognise(self, windows: Sequence[Sound], language: str, hints: Hints) -> list[list[Recognised]]:
        numbers = [int(sound[0]) for sound in windows]
        self.begun.set()
        self.go.acquire(timeout=30)
        self.batches.append((language, numbers))
        if self.broken & set(numbers):
            raise RuntimeError("this window kills the batch")
        if 13 in numbers:
            return []
        return [[replace(GOOD, text=str(number))] for number in numbers]

    def unload(self) -> None:
        self.unloaded.set()


def sound(number: int) -> Callable[[], Sound]:
    return lambda: np.full(10, number, np.float32)


def test_windows_of_several_calls_meet_and_the_newest_call_goes_first() -> None:
    engine = SlowEngine()
    batcher = Batcher(engine, Cores(1))
    first = batcher.submit(sound(0), seconds=5, language="ru", hints=NO_HINTS, rank=0)
    assert engine.begun.wait(30)  # from now on windows gather behind it
    ask = [(1, "ru", 5, -10), (2, "en", 5, -99), (3, "ru", 5, -20), (4, "en", 5, -1), (5, "ru", 25, -10)]
    ask += [(6, "ru", 6, -5), (7, "ru", 5, -5)]
    answers = [
        batcher.submit(sound(number), seconds=seconds, language=language, hints=NO_HINTS, rank=rank)
        for number, language, seconds, rank in ask
    ]
    cancelled = batcher.submit(sound(8), seconds=5, language="ru", hints=NO_HINTS, rank=-50)
    assert cancelled.cancel()
    engine.go.release(10)
    assert [answer.result(30)[0].text for answer in [first, *answers]] == [str(number) for number in range(8)]
    assert engine.batches == [("ru", [0]), ("en", [2, 4]), ("ru", [3, 1, 7]), ("ru", [5, 6])]
    batcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(sound(9), seconds=5, language="ru", hints=NO_HINTS)


def test_hints_of_one_call_are_not_told_to_another() -> None:
    engine = SlowEngine()
    engine.go.release(10)
    batcher = Batcher(engine, Cores(1))
    hints = [NO_HINTS, Hints(names=("Анна",)), Hints(names=("Пётр",))]
    answers = [batcher.submit(sound(n), seconds=5, language="ru", hints=one) for n, one in enumerate(hints)]
    assert [answer.result(30)[0].text for answer in answers] == ["0", "1", "2"]
    assert sorted(numbers for _, numbers in engine.batches) == [[0], [1], [2]]
    batcher.close()


def test_a_window_that_breaks_its_batch_costs_its_own_call_only() -> None:
    engine = SlowEngine()
    batcher = Batcher(engine, Cores(1))
    blocker = batcher.submit(sound(0), seconds=5, language="de", hints=NO_HINTS)
    assert engine.begun.wait(30)
    engine.broken = {2}

    def gone() -> Sound:
        raise OSError("the recording cannot be read")

    answers = [batcher.submit(sound(n), seconds=5, language="ru", hints=NO_HINTS) for n in (1, 2, 3)]
    unreadable = batcher.submit(gone, seconds=5, language="ru", hints=NO_HINTS)
    engine.go.release(10)
    assert [blocker.result(30)[0].text, answers[0].result(30)[0].text, answers[2].result(30)[0].text] == ["0", "1", "3"]
    with pytest.raises(RuntimeError, match="kills the batch"):
        answers[1].result(30)
    with pytest.raises(OSError, match="cannot be read"):
        unreadable.result(30)
    batcher.close()


def test_an_engine_that_answers_too_little_hangs_nobody() -> None:
    engine = SlowEngine()
    engine.go.release(10)
    batcher = Batcher(engine, Cores(1))
    with pytest.raises(ValueError, match="shorter"):
        batcher.submit(sound(13), seconds=5, language="ru", hints=NO_HINTS).result(30)
    assert batcher.submit(sound(1), seconds=5, language="ru", hints=NO_HINTS).result(30)[0].text == "1"
    batcher.close()


def test_an_idle_engine_gives_its_memory_back_and_works_again() -> None:
    engine = SlowEngine()
    engine.go.release(10)
    batcher = Batcher(engine, Cores(1), unload_seconds=0.05)
    for number in range(2):
        engine.unloaded.clear()
        batcher.submit(sound(number), seconds=5, language="ru", hints=NO_HINTS).result(30)
        assert engine.unloaded.wait(30)
    batcher.close()


def test_what_waits_is_cancelled_when_the_batcher_ends() -> None:
    engine = SlowEngine(batch=1)
    batcher = Batcher(engine, Cores(1))
    first, second = (batcher.submit(sound(n), seconds=5, language="ru", hints=NO_HINTS) for n in (0, 1))
    assert engine.begun.wait(30)
    engine.go.release(10)
    batcher.close()
    assert first.done()
    assert second.done()


def test_no_more_threads_compute_than_there_are_cores_for() -> None:
    cores = Cores(2)
    at_once: list[int] = []
    most: list[int] = []
    lock = threading.Lock()

    def work(threads: int) -> None:
        with cores.taken(threads):
            with lock:
                at_once.append(threads)
                most.append(sum(at_once))
            with lock:
                at_once.remove(threads)

    workers = [threading.Thread(target=work, args=(1 + number % 3,)) for number in range(40)]
    for one in workers:
        one.start()
    for one in workers:
        one.join(30)
    assert len(most) == 40
    assert max(min(one, 3) for one in most) <= 3  # who asks for more than there are has them all


# --- share of the machine ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beside_service", "records", "threads", "expected"),
    [(True, True, 0, 4), (True, False, 0, 7), (False, True, 0, 7), (True, True, 6, 6)],
)
def test_half_of_the_cores_stay_free_where_calls_are_recorded(
    monkeypatch: pytest.MonkeyPatch, *, beside_service: bool, records: bool, threads: int, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    settings = Settings(transcribe=TranscribeSettings(threads=threads))
    settings = settings.model_copy(update={"siprec": settings.siprec.model_copy(update={"enabled": records})})
    assert count_threads(settings, beside_service=beside_service) == expected


def test_an_asterisk_counts_as_recording_and_one_core_is_always_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    settings = Settings()
    assert count_threads(settings, beside_service=True) == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    off = settings.siprec.model_copy(update={"enabled": False})
    asterisk = AsteriskSettings.model_construct(name="pbx")  # type: ignore[call-arg]
    assert count_threads(settings.model_copy(update={"siprec": off, "asterisk": (asterisk,)}), beside_service=True) == 4


@pytest.mark.parametrize(
    ("night", "now", "begins"),
    [
        ("22-6", "2026-05-05 12:00", "2026-05-05 22:00"),
        ("22-6", "2026-05-05 23:10", None),
        ("22-6", "2026-05-05 05:59", None),
        ("22-6", "2026-05-05 06:00", "2026-05-05 22:00"),
        ("1:30-5", "2026-05-05 12:00", "2026-05-06 01:30"),
        ("1:30-5", "2026-05-05 01:29", "2026-05-05 01:30"),
        ("1:30-5", "2026-05-05 01:30", None),
        ("0-0", "2026-05-05 12:00", None),
    ],
)
def test_when_the_night_begins(night: str, now: str, begins: str | None) -> None:
    minutes = TranscribeSettings(night=night).night_minutes
    assert minutes is not None
    found = night_begins(datetime.fromisoformat(now).replace(tzinfo=UTC), minutes)
    assert found == (datetime.fromisoformat(begins).replace(tzinfo=UTC) if begins else None)


@pytest.mark.parametrize("night", ["22", "25-6", "22-6:61", "night", "22-6 "])
def test_hours_that_are_none_are_refused(night: str) -> None:
    with pytest.raises(ValueError, match="22-6"):
        TranscribeSettings(night=night)


async def test_who_must_be_alone_waits_and_is_waited_for() -> None:
    turns, order = Turns(), []
    go = {name: asyncio.Event() for name in "abc"}

    async def work(name: str, *, alone: bool) -> None:
        async with turns.taken(alone=alone):
            order.append(name)
            await go[name].wait()
            order.append(name.upper())

    tasks = []
    for name, alone in (("a", False), ("b", True), ("c", False)):
        tasks.append(asyncio.create_task(work(name, alone=alone)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert order == ["a"]
    for name in "abc":
        go[name].set()
    await asyncio.gather(*tasks)
    assert "".join(order).index("B") == "".join(order).index("b") + 1
    gone = asyncio.create_task(work("b", alone=True))  # a turn that was waited for in vain hinders nobody
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await work("a", alone=False)


# --- answers kept -----------------------------------------------------------------------------------------------------


def test_an_answer_is_sealed_to_its_window_of_its_recording(tmp_path: Path) -> None:
    seal = AnswerSeal(KeyRing.open_or_create(tmp_path / "keys"))
    answer = [replace(GOOD, text="карта 4111", words=(Word(start=0.1, end=0.5, text=" карта", confidence=0.9),))]
    sealed = seal.seal(answer, recording_id=7, key=b"window")
    assert b"4111" not in sealed
    assert seal.open(sealed, recording_id=7, key=b"window") == answer
    assert seal.open(sealed, recording_id=8, key=b"window") is None
    assert seal.open(sealed, recording_id=7, key=b"another") is None
    assert seal.open(sealed[:-1], recording_id=7, key=b"window") is None
    assert seal.open(b"", recording_id=7, key=b"window") is None


def test_the_key_of_a_window_is_its_sound_and_who_was_asked() -> None:
    def key(start: float, channel: int = 0, model: str = "small", language: str = "ru") -> bytes:
        (window,) = plan_windows([Stretch(start=start, end=start + 1)], seconds=60, join_seconds=0)
        planned = Planned(channel=channel, number=0, window=window)
        return window_key(planned, model=model, language=language)

    assert key(5) == key(5)
    assert len({key(5), key(5.1), key(5, channel=1), key(5, model="large-v3"), key(5, language="en")}) == 5
