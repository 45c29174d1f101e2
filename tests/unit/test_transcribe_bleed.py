"""Bleed of the other channel, by words as a table and by sound with the demo's voices; what is no bleed stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agent.demo.sound
from agent.model import Utterance
from agent.transcribe.engine import SAMPLE_RATE, Sound, Stretch
from agent.transcribe.speech.bleed import (
    EARLIEST_SECONDS,
    LATEST_SECONDS,
    Loudness,
    bleeding,
    is_same,
    part,
    repeats_other,
)
from agent.transcribe.speech.channels import Channel
from agent.transcribe.speech.planning import Plan, plan
from tests.speech.synth import Samples, add, clip, through
from tests.speech_hard.copies import ECHOES, echo
from tests.unit.test_transcribe_speech import track

SOUND = Path(agent.demo.sound.__file__).parent
CALL: dict[str, Any] = json.loads((SOUND / "calls.json").read_text(encoding="utf-8"))[0]
PARTIES = ("caller", "callee")
RATE = 8000  # Hz
SENTENCE = "доставка стоит пятьсот рублей и придёт завтра"


def said(channel: int, start: float, end: float, text: str) -> Utterance:
    return Utterance(channel=channel, start=start, end=end, text=text, confidence=0.9)


@pytest.mark.parametrize(
    ("copy", "quieter", "is_bleed"),
    [
        (said(1, 10.2, 13.2, SENTENCE), 12, True),
        (said(1, 10.2, 13.2, "доставка стоит пятьсот рублей придет завтра"), 12, True),
        (said(1, 11.5, 13.2, "рублей и придёт завтра"), 12, True),  # only the end was heard
        (said(1, 10.2, 13.2, SENTENCE), 3, False),  # as loud: both say it
        (said(1, 10.2, 13.2, SENTENCE), -12, False),  # louder: he is the one who says it
        (said(1, 13.9, 16.9, SENTENCE), 12, False),  # said after him, as people repeat a price
        (said(1, 6.5, 9.7, SENTENCE), 12, False),  # said before him
        (said(1, 10.2, 13.2, "это слишком дорого для нас сейчас"), 12, False),  # other words at the same time
        (said(1, 10.2, 11.0, "пятьсот рублей"), 12, False),  # too few words to tell
        (said(1, 10.1, 10.2, "доставка"), 12, True),  # his first word, behind the end of one's own speech
        (said(1, 10.1, 10.2, "доставка"), 3, False),
        (said(1, 10.1, 10.9, "доставка"), 12, False),  # long enough to be said
        (said(1, 10.1, 10.2, "рублей"), 12, False),  # not how he begins
        (said(1, 11.1, 11.2, "доставка"), 12, False),  # he has begun long ago
        (said(0, 10.2, 13.2, SENTENCE), 12, False),  # the same channel is no other
    ],
)
def test_the_same_words_at_the_same_time_and_quieter(copy: Utterance, quieter: float, is_bleed: bool) -> None:
    reason = repeats_other(copy, quieter, said(0, 10.0, 13.0, SENTENCE))
    assert bool(reason) == is_bleed
    assert not is_bleed or ("the same words" in reason and f"{quieter} dB quieter" in reason)


def test_of_two_with_the_same_words_the_quieter_is_the_copy_whichever_began_first() -> None:
    for first in (0, 1):
        lines = [said(first, 10.0, 13.0, SENTENCE), said(1 - first, 10.1, 13.1, SENTENCE)]
        loudness = [Loudness(20), Loudness(20)]
        loudness[0].note(0.0, np.full(20 * SAMPLE_RATE, 0.3, np.float32))
        loudness[1].note(0.0, np.full(20 * SAMPLE_RATE, 0.03, np.float32))
        copies = bleeding(lines, loudness)
        assert [lines[index].channel for index in copies] == [1]


def voice(party: str) -> Samples:
    return track(SOUND / CALL["files"][party])


def planned(*tracks: Samples) -> Plan:
    """The plan of these tracks; speech is where the demo says that it is."""
    from agent.transcribe.speech.speechfinder import find_speech

    return plan([Channel(samples=one, rate=8000) for one in tracks], join_seconds=0, find=find_speech)


@pytest.mark.parametrize("name", list(ECHOES))
def test_echo_of_the_other_channel_is_left_out_and_both_voices_stay(name: str) -> None:
    caller, callee = voice("caller"), voice("callee")
    clean = planned(caller, callee)
    path = ECHOES[name]
    heard = planned(add(caller, echo(callee, path)), add(callee, echo(caller, path)))
    assert heard.separated
    for own, stretches in zip(clean.speech, heard.speech, strict=True):
        assert covered(own, stretches) > 0.9
        assert covered(stretches, own, around=0.5) > 0.9, "a copy was left"
    assert all(one.reason.startswith("bleed of the other channel: the same sound") for one in heard.dropped)


def covered(these: tuple[Stretch, ...], by: tuple[Stretch, ...], around: float = 0.0) -> float:
    shared = sum(max(0.0, min(a.end, b.end + around) - max(a.start, b.start - around)) for a in these for b in by)
    return shared / sum(one.end - one.start for one in these)


def test_two_who_speak_at_once_are_both_kept_over_the_echo_of_each_other() -> None:
    caller, callee = voice("caller"), voice("callee")
    moved = np.roll(callee, -round((first_speech(callee) - first_speech(caller) - 0.4) * 8000))
    path = ECHOES["echo of a gateway, 120 ms, -15 dB"]
    together = planned(add(caller, echo(moved, path)), add(moved, echo(caller, path)))
    for own, stretches in zip((planned(caller).speech[0], planned(moved).speech[0]), together.speech, strict=True):
        assert covered(own, stretches) > 0.9


def first_speech(samples: Samples) -> float:
    return planned(samples).speech[0][0].start


def test_without_echo_nothing_is_taken_from_people_who_interrupt_each_other() -> None:
    caller, callee = voice("caller"), voice("callee")
    moved = np.roll(callee, -round((first_speech(callee) - first_speech(caller) - 0.4) * 8000))
    assert planned(caller, moved).dropped == ()


def test_own_words_after_an_echo_keep_their_stretch_and_only_the_echo_is_dropped() -> None:
    callee = voice("callee")
    talk = planned(callee).speech[0][0]
    spoken = callee[round(talk.start * 8000) : round(talk.end * 8000)]
    quiet = np.zeros(8000, np.int16)
    one = np.concatenate([quiet, spoken, quiet, quiet])
    late = round(0.2 * 8000)
    own = np.concatenate([np.zeros(len(quiet) + len(spoken) + late, np.int16), spoken])[: len(one)]
    heard = add(own, echo(one, ECHOES["echo of a line, 20 ms, -10 dB"]))
    stretch = Stretch(start=1.0, end=(len(quiet) + len(spoken) + late) / 8000 + 0.7)
    source = Channel(samples=one, rate=8000)
    around = np.pad(source.piece(stretch.start - LATEST_SECONDS, stretch.end - EARLIEST_SECONDS), (0, SAMPLE_RATE))[
        : round((stretch.end - stretch.start + LATEST_SECONDS - EARLIEST_SECONDS) * SAMPLE_RATE)
    ]
    parted = part(stretch, Channel(samples=heard, rate=8000).piece(stretch.start, stretch.end), around)
    assert parted.copied is not None
    assert parted.copied.lag == pytest.approx(0.02, abs=0.002)
    assert parted.copied.quieter_db == pytest.approx(10, abs=1)
    (rest,) = parted.own
    assert rest.start == pytest.approx(1.0 + len(spoken) / 8000 + 0.2, abs=0.7)
    assert rest.end == stretch.end


def test_a_mix_in_both_channels_is_heard_once_and_marked() -> None:
    mix = add(voice("caller"), voice("callee"))
    heard = planned(through(mix, "alaw"), through(clip(mix.astype(np.float64) * 0.98), "mulaw"))
    assert not heard.separated
    assert heard.speech[0]
    assert heard.speech[1] == ()
    assert planned(voice("caller"), voice("callee")).separated


def test_two_silent_channels_are_no_mix() -> None:
    nothing = np.zeros(8000 * 40, np.int16)
    assert planned(nothing, nothing).separated
    assert is_same(sound(nothing, 1.0), sound(nothing, 1.7)) is None


def sound(samples: Samples, seconds: float) -> Sound:
    return Channel(samples=samples, rate=8000).piece(0, seconds)


def test_one_channel_is_a_mix_unless_it_is_known_to_be_one_party() -> None:
    channel = Channel(samples=voice("caller"), rate=8000)
    assert not plan([channel], join_seconds=0, find=lambda sound: []).separated
    assert plan([channel], join_seconds=0, find=lambda sound: [], mixed=False).separated


@pytest.mark.parametrize("is_before", [True, False], ids=["echo before", "echo behind"])
@pytest.mark.parametrize("name", ["echo of a line, 20 ms, -10 dB", "echo of a gateway, 120 ms, noisy"])
def test_an_echo_right_beside_ones_own_louder_voice_is_parted_from_it(name: str, is_before: bool) -> None:
    """What is left of an echo at an edge is enough for a model to hear its first or last word."""
    path, gap = ECHOES[name], np.zeros(round(0.3 * RATE), np.int16)
    theirs, own = (clean_speech(voice(party)) for party in ("caller", "callee"))
    silence, other_silence = np.zeros(len(own), np.int16), np.zeros(len(theirs), np.int16)
    pieces = (theirs, gap, silence) if is_before else (silence, gap, theirs)
    mine = (other_silence, gap, own) if is_before else (own, gap, other_silence)
    far, near = (np.concatenate(one) for one in (pieces, mine))
    heard = planned(add(far, echo(near, path)), add(near, echo(far, path)))
    begin = (len(theirs) + len(gap)) / RATE if is_before else 0.0
    assert len(heard.speech[1]) == 1
    assert begin - 0.2 < heard.speech[1][0].start
    assert heard.speech[1][0].end < begin + len(own) / RATE + 0.2
    assert covered((Stretch(start=begin, end=begin + len(own) / RATE),), heard.speech[1]) > 0.9


def clean_speech(samples: Samples) -> Samples:
    """The first stretch of a voice."""
    first = planned(samples).speech[0][0]
    return samples[round(first.start * RATE) : round(first.end * RATE)]
