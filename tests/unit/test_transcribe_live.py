"""Transcription while the call goes on: what is planned of a beginning, whose answers are taken, and who goes first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.archive.keys import KeyRing
from agent.transcribe.engine import SAMPLE_RATE, Sound, Stretch
from agent.transcribe.live.plan import GrowingRow, LivePlan
from agent.transcribe.live.remembered import Remembered
from agent.transcribe.soundkeys import SoundKeys
from agent.transcribe.speech import planning
from agent.transcribe.speech.channels import Channel, Samples
from agent.transcribe.speech.planning import Planned

RATE = 8000
JOIN = 28.0


def loud(sound: Sound) -> list[Stretch]:
    """Speech is what is loud, with ends on the same grid of 32 ms that Silero has."""
    frames = np.pad(sound, (0, -len(sound) % 512)).reshape(-1, 512)
    is_loud = np.abs(frames).max(axis=1) > 0.05
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_loud, [False]])))
    seconds = len(sound) / SAMPLE_RATE
    found = zip(edges[::2] * 0.032, edges[1::2] * 0.032, strict=True)
    return [Stretch(start=float(start), end=min(seconds, float(end))) for start, end in found]


def talk(seconds: float, seed: int, *, echo: bool = False) -> Samples:
    """Noise in turns of 0.4 to 20 s, by either party; with ``echo`` the second channel hears the first as well."""
    chance = np.random.default_rng(seed)
    sound = np.zeros((round(seconds * RATE), 2))
    at, party = float(chance.uniform(0, 3)), 0
    while at < seconds:
        length = float(chance.choice([0.4, 1.5, 4.0, 20.0])) * float(chance.uniform(0.7, 1.2))
        begin, end = round(at * RATE), min(round((at + length) * RATE), len(sound))
        sound[begin:end, party] = chance.normal(0, 3000, end - begin)
        at += length + float(chance.choice([0.15, 0.6, 6.0]))
        party = 1 - party if chance.random() < 0.6 else party
    if echo:
        sound[1600:, 1] += 0.2 * sound[:-1600, 0]
    return np.clip(sound, -32767, 32767).astype(np.int16)


def planned(sound: Samples) -> list[Planned]:
    channels = [Channel(samples=np.ascontiguousarray(sound[:, index]), rate=RATE) for index in range(sound.shape[1])]
    return list(planning.plan(channels, join_seconds=JOIN, find=loud).windows)


def planned_live(sound: Samples, steps: list[float]) -> tuple[list[Planned], list[Sound]]:
    """The windows that come as the sound grows, and what is cut for them."""
    plan = LivePlan(sound.shape[1], RATE, join_seconds=JOIN, find=loud)
    found, cut, begin = [], [], 0
    for step in steps:
        end = round(step * RATE)
        plan.add(sound[begin:end])
        begin = end
        new = plan.go_on()
        found += new
        cut += [one.cut(plan.channels) for one in new]
    return found, cut


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("echo", [False, True])
def test_a_growing_call_has_the_windows_of_the_finished_one(seed: int, echo: bool) -> None:
    sound = talk(240, seed, echo=echo)
    whole = {(one.channel, one.number): one for one in planned(sound)}
    found, cut = planned_live(sound, [float(end) for end in range(30, 241, 30)])
    assert len(found) > len(whole) / 2
    assert all(one == whole[one.channel, one.number] for one in found)
    channels = [Channel(samples=np.ascontiguousarray(sound[:, index]), rate=RATE) for index in range(2)]
    assert all(np.array_equal(heard, one.cut(channels)) for one, heard in zip(found, cut, strict=True))


def test_how_the_sound_comes_makes_no_difference() -> None:
    sound = talk(180, 11)
    evenly, _ = planned_live(sound, [float(end) for end in range(30, 181, 30)])
    chance = np.random.default_rng(3)
    unevenly, _ = planned_live(sound, sorted({*chance.uniform(0, 180, 40).tolist(), 180.0}))
    assert sorted(unevenly, key=repr) == sorted(evenly, key=repr)


def test_nothing_is_planned_of_channels_that_carry_one_sound() -> None:
    sound = talk(120, 5)
    sound[:, 1] = sound[:, 0]
    found, _ = planned_live(sound, [float(end) for end in range(30, 121, 30)])
    assert found == []


def with_remembered(sound: Samples, rows: dict[bytes, bytes]) -> planning.Plan:
    """The plan of a recording with what is known of its sound; what is new joins it."""
    keys = SoundKeys(KeyRing(Path("/nonexistent"), {1: bytes(32)}))
    once = Remembered(keys, rows.get, lambda key, answer, stretch: rows.update({key: answer}))
    channels = [Channel(samples=np.ascontiguousarray(sound[:, index]), rate=RATE) for index in range(sound.shape[1])]
    return planning.plan(channels, join_seconds=JOIN, find=once.finding(loud), comparing=once.comparing)


@pytest.mark.parametrize("echo", [False, True])
def test_what_was_found_in_the_same_sound_is_not_looked_for_again_and_stays_the_same(
    echo: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = talk(90, 4, echo=echo)
    rows: dict[bytes, bytes] = {}
    first = with_remembered(sound, rows)
    assert list(first.windows) == planned(sound)
    assert bool(first.dropped) is echo
    known = len(rows)
    other = sound.copy()
    other[RATE * 45, 1] += 1
    with_remembered(other, rows)
    assert len(rows) > known
    monkeypatch.delattr(planning, "is_same")
    monkeypatch.setattr("agent.transcribe.live.remembered.COMPARING", None)
    again = with_remembered(sound, rows)
    assert replace(again, loudness=()) == replace(first, loudness=())


def test_only_what_may_be_asked_for_is_held() -> None:
    sound = talk(600, 7)
    plan = LivePlan(2, RATE, join_seconds=JOIN, find=loud)
    most = 0.0
    for begin in range(0, 600, 30):
        plan.add(sound[begin * RATE : (begin + 30) * RATE])
        plan.go_on()
        most = max(most, *(len(row) / RATE - row.begin / RATE for row in plan.rows))
    assert most < 300


def test_a_row_keeps_its_places_when_its_beginning_goes() -> None:
    row = GrowingRow()
    row.add(np.arange(100, dtype=np.int16))
    row.forget(40)
    row.add(np.arange(100, 150, dtype=np.int16))
    assert len(row) == 150
    assert row[60:110].tolist() == list(range(60, 110))
    with pytest.raises(IndexError):
        row[30:50]
