"""The synthetic speech that other tests stand on: calls are what they say they are, the model's files fit together."""

from __future__ import annotations

import io
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from agent.transcribe.speech.channels import read_channels
from tests import peers
from tests.speech import material
from tests.speech.calls import SyntheticCall, make_call, write_flac
from tests.speech.corpus import LANGUAGES, load_corpus
from tests.speech.disturbances import Disturber, Sound
from tests.speech.evaluate import MODEL
from tests.speech.export import export
from tests.speech.joining import Joiner
from tests.speech.synth import RATE, active, noise, telephone, through
from tests.speech.vocabulary import make_tokenizer, tokens
from tests.speech.voices import BASES, HELD_OUT, TRAINING, Voice, speak
from tests.speech.weights import read_model


@pytest.fixture(scope="module")
def call() -> SyntheticCall:
    peers.require("espeak-ng")
    return make_call(5, language="ru", seconds=40, line_noise=None)


def test_no_voice_is_both_trained_on_and_kept_for_judging() -> None:
    assert len({*HELD_OUT, *TRAINING}) == len(HELD_OUT) + len(TRAINING)


@pytest.mark.parametrize("base", [base for bases in BASES.values() for base in bases])
def test_every_voice_is_there_and_differs(base: str) -> None:
    peers.require("espeak-ng")
    said = {
        speak("Sieben", Voice(name=f"{base}+{variant}" if variant else base)).samples.tobytes()
        for variant in (*HELD_OUT, *TRAINING)
    }
    assert len(said) > 0.9 * len({*HELD_OUT, *TRAINING})


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_of_a_sentence_follow_each_other(language: str) -> None:
    peers.require("espeak-ng")
    chance = random.Random(1)
    for _ in range(30):
        text = load_corpus(language).sentence(chance)
        spoken = speak(text, Voice(name=f"{BASES[language][0]}+f4"))
        assert " ".join(word.text for word in spoken.words) == " ".join(text.replace(",", "").rstrip(".?").split())
        edges = [edge for word in spoken.words for edge in (word.start, word.end)]
        assert edges == pytest.approx(sorted(edges), abs=1e-6), text
        assert edges[0] >= 0, text
        assert edges[-1] <= len(spoken.samples) / spoken.rate, text


def test_a_call_lasts_as_asked_and_half_of_it_is_silent(call: SyntheticCall) -> None:
    assert call.seconds == pytest.approx(40, abs=1.5)
    assert call.silent_share == pytest.approx(0.5, abs=0.1)
    assert {line.channel for line in call.lines} == {0, 1}
    assert call.voices[0].name != call.voices[1].name


def test_each_party_is_loud_where_its_lines_are_and_nowhere_else(call: SyntheticCall) -> None:
    for channel, samples in enumerate(call.channels):
        spoken = np.zeros(len(samples), np.bool_)
        for line in call.lines:
            if line.channel == channel:
                spoken[round(line.start * RATE) - 80 : round(line.end * RATE) + 80] = True
                assert np.abs(samples[round(line.start * RATE) : round(line.end * RATE)]).max() > 1000, line.text
        assert np.abs(samples[~spoken]).max() <= 8, "A-law writes silence as 8"


def test_the_same_seed_makes_the_same_call(call: SyntheticCall) -> None:
    again = make_call(5, language="ru", seconds=40, line_noise=None)
    assert again.voices == call.voices
    assert [(line.channel, line.text) for line in again.lines] == [(line.channel, line.text) for line in call.lines]
    for one, two in zip(again.lines, call.lines, strict=True):
        assert [word.start for word in one.words] == pytest.approx([word.start for word in two.words], abs=0.1)
    assert make_call(6, language="ru", seconds=40).said() != call.said()


def test_parties_talk_at_once_only_where_that_is_asked_for() -> None:
    peers.require("espeak-ng")

    def both(overlap: float) -> int:
        lines = make_call(3, seconds=60, overlap=overlap).lines
        return sum(one.channel != two.channel and two.start < one.end for one, two in pairwise(lines))

    assert both(0.0) == 0
    assert both(1.0) > 2


def test_nobody_talks_over_himself() -> None:
    peers.require("espeak-ng")
    lines = make_call(4, seconds=60, overlap=1.0).lines
    for channel in (0, 1):
        own = [line for line in lines if line.channel == channel]
        assert all(one.end <= two.start for one, two in pairwise(own))


def test_a_flac_gives_the_channels_back(call: SyntheticCall) -> None:
    left, right = read_channels(io.BytesIO(write_flac(call)))
    line = next(line for line in call.lines if line.channel == 0)
    assert np.abs(left.piece(line.start, line.end)).max() > 0.03
    assert np.abs(right.piece(line.start, line.end)).max() < 0.001
    assert len(read_channels(io.BytesIO(write_flac(call, mixed=True)))) == 1


def test_a_telephone_lets_its_band_through() -> None:
    rate = 22050
    time = np.arange(rate) / rate
    for pitch, passes in ((120, False), (1000, True), (3000, True), (3800, False)):
        both = np.sin(2 * np.pi * pitch * time) + np.sin(2 * np.pi * 700 * time)
        spectrum = np.abs(np.fft.rfft(telephone((8000 * both).astype(np.int16), rate).astype(float)))
        share = float(spectrum[pitch - 3 : pitch + 4].max() / spectrum[690:710].max())
        assert (share > 0.3) is passes, (pitch, share)


@pytest.mark.parametrize("law", ["alaw", "mulaw"])
def test_g711_is_what_ffmpeg_makes_of_it(law: str) -> None:
    import av

    samples = np.random.default_rng(1).integers(-32768, 32767, 4000).astype(np.int16)
    encoder = av.CodecContext.create(f"pcm_{law}", "w")
    encoder.sample_rate, encoder.layout, encoder.format = RATE, "mono", "s16"  # type: ignore[attr-defined]
    decoder = av.CodecContext.create(f"pcm_{law}", "r")
    decoder.sample_rate, decoder.layout = RATE, "mono"  # type: ignore[attr-defined]
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = RATE
    packets = [*encoder.encode(frame), *encoder.encode(None)]  # type: ignore[attr-defined]
    theirs = np.concatenate([one.to_ndarray()[0] for packet in packets for one in decoder.decode(packet)])  # type: ignore[attr-defined]
    ours = through(samples, "alaw" if law == "alaw" else "mulaw")
    step = np.maximum(16, np.abs(samples.astype(int)) / 16)
    assert set(np.unique(ours)) <= set(np.unique(theirs)) | set(range(-32768, 32768, 4))
    assert (np.abs(ours.astype(int) - theirs.astype(int)) <= step).all()
    assert np.mean(ours == theirs) > 0.9


def test_where_a_sound_is_active() -> None:
    silence = np.zeros(RATE, np.int16)
    begin, end = active(np.concatenate([silence, noise(0.5, -20, np.random.default_rng(1)), silence]))
    assert (begin, end) == pytest.approx((1.0, 1.5), abs=0.02)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_of_the_corpus_is_one_token(language: str) -> None:
    tokenizer = make_tokenizer()
    chance = random.Random(2)
    for _ in range(200):
        text = " " + load_corpus(language).sentence(chance)
        encoded = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(encoded.ids) == text
        assert len([piece for piece in encoded.tokens if len(piece) > 1]) == len(text.split())


def test_unknown_words_are_spelt_and_come_back() -> None:
    tokenizer = make_tokenizer()
    text = " Кардлайн, номер 12"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_the_model_was_made_with_this_vocabulary() -> None:
    import json

    assert tuple(json.loads((MODEL / "vocabulary.json").read_text(encoding="utf-8"))) == tokens()


def test_what_is_exported_can_be_read_and_exported_again(tmp_path: Path) -> None:
    weights = read_model(MODEL / "model.bin")
    del weights["encoder/position_encodings/encodings"]
    export(weights, tmp_path / "again")
    again = read_model(tmp_path / "again" / "model.bin")
    assert again.keys() - weights.keys() <= {"encoder/position_encodings/encodings", "decoder/projection/weight"}
    for name, value in weights.items():
        assert np.abs(again[name] - value).max() <= 0.01 * np.abs(value).max(), name


def test_a_model_of_another_binary_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"\x05\0\0\0" + b"\0" * 64)
    with pytest.raises(ValueError, match="version 5"):
        read_model(tmp_path / "model.bin")


# --- what is trained on ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def joiner(tmp_path_factory: pytest.TempPathFactory) -> Joiner:
    peers.require("espeak-ng")
    folder = tmp_path_factory.mktemp("material")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(material, "_PROFILES", dict.fromkeys(LANGUAGES, 1))
        patch.setattr(material, "_SENTENCES", dict.fromkeys(LANGUAGES, 6))
        patch.setattr(material, "TRAINING", TRAINING[:2])
        material.write_material(folder)
    return Joiner(folder, seed=1)


def test_windows_of_training_say_what_is_heard_in_them_and_when(joiner: Joiner) -> None:
    tokenizer = make_tokenizer()
    endings = 0
    for _ in range(60):
        one = joiner.window(9.0, padded=9.5)
        assert one.mel.shape == (80, 950)
        assert len(one.tokens) == len(one.targets) == len(one.looks)
        assert [token for token in one.targets if token >= 0][-1] == tokenizer.token_to_id("<|endoftext|>")
        assert all(0 <= at <= 9.0 for _, at in one.words)
        if one.words:
            heard = one.mel[:, :901].mean(axis=0)
            ends = one.words[-1][1] + 1.0
            endings += heard[round(one.words[-1][1] * 100)] > heard[round(ends * 100) :].mean() if ends < 8.5 else 0
    assert endings > 5


@pytest.mark.parametrize("decibels", [-20.0, -50.0])
def test_noise_is_as_loud_as_asked_for_and_of_many_colours(decibels: float) -> None:
    disturber = Disturber(3)
    shares = []
    for _ in range(40):
        made = disturber.noise(RATE * 2 + 3, decibels)
        assert len(made) == RATE * 2 + 3
        assert 20 * np.log10(np.sqrt(np.mean(made**2)) / 32768) == pytest.approx(decibels)
        power = np.abs(np.fft.rfft(made)) ** 2
        shares.append(float(power[: len(power) // 4].sum() / power.sum()))
    assert min(shares) < 0.3
    assert max(shares) > 0.8


def test_a_voice_is_coloured_and_as_loud_as_before() -> None:
    disturber, voice = Disturber(3), noise(1.03, -25.0, np.random.default_rng(1)).astype(float)
    highs = []
    for _ in range(20):
        made = disturber.coloured_voice(voice)
        assert len(made) == len(voice)
        assert loudness(made) == pytest.approx(loudness(voice), rel=0.1)
        power = np.abs(np.fft.rfft(made)) ** 2
        highs.append(float(power[len(power) // 2 :].sum() / power.sum()))
    assert max(highs) > 0.3
    assert min(highs) < 0.1
    assert not disturber.coloured_voice(np.zeros(100)).any()


def loudness(sound: Sound) -> float:
    return float(np.sqrt(np.mean(sound**2)))
