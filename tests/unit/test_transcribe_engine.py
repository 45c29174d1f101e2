"""The Whisper engine: batches, other temperatures, segments out of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ModelUnavailable
from agent.model import Word
from agent.transcribe.engine import NO_HINTS, SAMPLE_RATE, Hints, Recognised, Sound
from agent.transcribe.engines.habits import Habits
from agent.transcribe.engines.hearing import Hearing
from agent.transcribe.engines.segments import Cut, compression, cut_segments, found_again, words_of
from agent.transcribe.engines.whisper import WhisperEngine
from agent.transcribe.models.fetching import TINY_DEMO, find_model
from agent.transcribe.speech.channels import Channel
from tests.unit.test_transcribe_speech import CALLS, SOUND, track

GOOD = Recognised(start=0.0, end=1.0, text="да", no_speech=0.01, log_probability=-0.2, compression=1.0)
TINY = find_model(TINY_DEMO, data_dir=Path("/nonexistent"))


def phrases() -> list[Sound]:
    """What a party of a demo's call says, a phrase a sound as the pipeline hands it over; Russian."""
    call = CALLS[2]
    return [
        Channel(samples=track(SOUND / call["files"][phrase["party"]]), rate=8000).piece(
            phrase["start"] - 0.4, phrase["end"] + 0.2
        )
        for phrase in call["phrases"]
    ]


# --- Whisper ----------------------------------------------------------------------------------------------------------


def test_a_batch_gives_what_each_window_gives_by_itself() -> None:
    engine = WhisperEngine(TINY, name="tiny", threads=2)
    sounds = phrases()
    together = engine.recognise(sounds, "ru", NO_HINTS)
    alone = [engine.recognise([sound], "ru", NO_HINTS)[0] for sound in sounds]
    assert [[one.text for one in each] for each in together] == [[one.text for one in each] for each in alone]
    assert [each[0].text.strip() for each in together] == [phrase["text"] for phrase in CALLS[2]["phrases"]]


def test_a_window_whose_language_was_told_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = WhisperEngine(TINY, name="tiny", threads=1)
    first, second, *_ = phrases()
    expected = engine.recognise([first, second], "ru", NO_HINTS)
    encoded: list[int] = []
    with engine._loaded() as hearing:
        encode = hearing._model.encode

    def count(features: Any) -> Any:
        encoded.append(1)
        return encode(features)

    monkeypatch.setattr(hearing._model, "encode", count)
    weights = engine.weigh_languages(first)
    assert max(weights, key=weights.__getitem__) == "ru"
    assert engine.recognise([first, second], "ru", NO_HINTS) == expected
    assert len(encoded) == 2


def test_a_model_is_unloaded_only_while_nobody_uses_it() -> None:
    engine = WhisperEngine(TINY, name="tiny", threads=1)
    engine.unload()  # nothing is loaded yet
    with engine._loaded() as hearing:
        engine.unload()
        assert vars(engine)["_hearing"] is hearing
    engine.unload()
    assert vars(engine)["_hearing"] is None
    assert engine.recognise(phrases()[:1], "ru", NO_HINTS)[0]


def test_a_gpu_that_is_not_there_is_unavailable() -> None:
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("there is a GPU")
    with pytest.raises(ModelUnavailable, match="cannot be loaded") as caught:
        WhisperEngine(TINY, name="tiny", device="cuda").load()
    assert "transcribe.device" in caught.value.remedy
    assert WhisperEngine(TINY, name="tiny", threads=8).lanes == 4
    assert WhisperEngine(TINY, name="tiny", threads=1).lanes == 1


def test_sound_of_any_length_is_taken() -> None:
    engine = WhisperEngine(TINY, name="tiny", threads=1)
    sounds = [np.zeros(count, np.float32) for count in (0, 1, 100, 31 * SAMPLE_RATE)]
    assert len(engine.recognise(sounds, "ru", NO_HINTS)) == len(sounds)


def test_hints_come_before_what_is_written() -> None:
    engine = WhisperEngine(TINY, name="tiny", threads=1)
    with engine._loaded() as hearing:
        tokenizer, _ = hearing._tokenizer("ru")
        unable = hearing._prompt(tokenizer, Hints(names=("Анна",)))
        hearing._habits = replace(hearing._habits, hints=True)
        plain = hearing._prompt(tokenizer, NO_HINTS)
        hinted = hearing._prompt(tokenizer, Hints(names=("Анна",), glossary=("насос",)))
        long = hearing._prompt(tokenizer, Hints(glossary=("насос",) * 1000))
    assert unable == plain
    assert hinted[-len(plain) :] == plain
    assert hinted[0] == tokenizer.sot_prev
    assert len(long) <= 448 // 2 + len(plain)
    assert engine.recognise(phrases()[:1], "ru", Hints(names=("Анна",), glossary=("насос",)))[0]
    assert len(engine.recognise(phrases()[:1], "ru", Hints(glossary=("насос",) * 1000))) == 1, "no prompt is too long"


def test_prompts_of_different_length_still_share_no_batch() -> None:
    """Why calls with different hints are heard apart (`Hearing`). Where this fails, CTranslate2 has learnt to."""
    engine = WhisperEngine(TINY, name="tiny", threads=1)
    with engine._loaded() as hearing:
        tokenizer, _ = hearing._tokenizer("ru")
        prompts = [hearing._model.get_prompt(tokenizer, [], hotwords=words) for words in ("да", "да, нет", None)]
        assert len(set(map(len, prompts))) == len(prompts)
        encoded = hearing._encode(phrases()[:3], 3000)
        with pytest.raises(ValueError, match="same position"):
            hearing._model.model.generate(encoded, prompts)


# --- other temperatures -----------------------------------------------------------------------------------------------


@dataclass
class FakeResult:
    sequences_ids: list[list[int]]
    scores: list[float]
    no_speech_prob: float = 0.0


@dataclass
class FakeWhisper:
    """Answers windows by their first sample: 1 is sound at once, 2 at the second temperature, 3 never."""

    device: str = "cpu"
    n_mels: int = 80
    is_multilingual: bool = True
    asked: list[tuple[float, int]] = field(default_factory=list)

    def generate(self, rows: Any, prompts: Sequence[Any], **settings: Any) -> list[FakeResult]:
        kinds = [round(float(row[0, 0])) for row in np.asarray(rows)]
        temperature = settings.get("sampling_temperature", 0.0)
        self.asked.append((temperature, len(kinds)))
        return [self._answer(kind, temperature) for kind in kinds]

    def _answer(self, kind: int, temperature: float) -> FakeResult:
        poor = kind == 3 or (kind == 2 and temperature < 0.2)
        return FakeResult(sequences_ids=[[kind]], scores=[-5.0 - temperature if poor else -0.1])


class FakeModel:
    def __init__(self) -> None:
        self.model = FakeWhisper()

    def feature_extractor(self, sound: Sound) -> Sound:
        return np.full((80, 3000), sound[0], np.float32)

    def encode(self, features: Any) -> Any:
        return np.full((1, 1500, 1), features[0, 0], np.float32)

    def get_prompt(self, *_: Any, **__: Any) -> list[int]:
        return [1]


class FakeTokenizer:
    timestamp_begin = 1000

    def decode(self, tokens: list[int]) -> str:
        return "слово" if tokens else ""


def test_only_doubtful_windows_are_asked_again() -> None:
    pytest.importorskip("ctranslate2")
    model = FakeModel()
    habits = Habits(timestamps=False, word_times=False, temperatures=(0.0, 0.2, 0.4))
    hearing = Hearing(model, lambda language: (FakeTokenizer(), []), habits)
    sounds = [np.full(SAMPLE_RATE, kind, np.float32) for kind in (1, 2, 3, 1)]
    answers = hearing.recognise(sounds, "ru", NO_HINTS)
    assert model.model.asked == [(0.0, 4), (0.2, 2), (0.4, 1)]
    assert [round(each[0].log_probability, 2) for each in answers] == [-0.05, -0.05, -2.5, -0.05]


# --- segments ---------------------------------------------------------------------------------------------------------

TIME = 100  # the token of 0 s


def at(seconds: float) -> int:
    return TIME + round(seconds * 50)


@pytest.mark.parametrize(
    ("tokens", "expected", "until"),
    [
        ([], [], None),
        ([1, 2], [(0.0, 9.0, (1, 2))], None),
        ([at(1), 1, at(3), at(4), 2, at(6)], [(1.0, 3.0, (1,)), (4.0, 6.0, (2,))], None),
        ([at(1), 1, at(3), at(3)], [(1.0, 3.0, (1,))], 3.0),  # more is to come after 3 s
        ([at(1), 1, at(3), at(4), 2], [(1.0, 3.0, (1,)), (4.0, 9.0, (2,))], None),  # what was not closed is not lost
        ([at(5), 1, at(2)], [(5.0, 5.0, (1,))], None),  # times that run backwards
        ([at(1), 1, at(30)], [(1.0, 9.0, (1,))], None),  # past the end of the window
    ],
)
def test_segments_by_the_times_a_model_writes(
    tokens: list[int], expected: list[tuple[float, float, tuple[int, ...]]], until: float | None
) -> None:
    cuts, rest = cut_segments(tokens, first_time=TIME, seconds=9.0)
    assert [(cut.start, cut.end, cut.tokens) for cut in cuts] == expected
    assert rest == until


@given(st.lists(st.integers(0, TIME + 1500), max_size=60))
def test_no_token_is_lost_whatever_a_model_writes(tokens: list[int]) -> None:
    cuts, _ = cut_segments(tokens, first_time=TIME, seconds=9.0)
    assert [token for cut in cuts for token in cut.tokens] == [token for token in tokens if token < TIME]
    assert all(0.0 <= cut.start <= cut.end <= 9.0 for cut in cuts)


def entry(text: str, start: float, end: float) -> Mapping[str, Any]:
    return {"word": text, "tokens": [0], "start": start, "end": end, "probability": 0.5}


def test_punctuation_goes_with_its_word_and_a_stretched_word_is_cut() -> None:
    alignment = [
        entry(" «", 0.0, 0.1),
        entry("Да", 0.1, 0.5),
        entry("»", 0.5, 0.5),
        entry(" e", 0.5, 0.8),
        entry("-mail", 0.8, 1.2),
        entry(".", 1.2, 1.2),
        entry(" нет", 1.2, 9.0),
    ]
    words, used = words_of(alignment, 7)
    assert [(word.text, word.start, word.end) for word in words] == [
        (" «Да»", 0.1, 0.5),
        (" e-mail.", 0.5, 1.2),
        (" нет", pytest.approx(9.0 - 2 * 0.4), 9.0),
    ]
    assert used == 7
    assert words_of(alignment, 2)[1] == 2
    assert words_of([], 5) == ([], 0)


def test_compression_tells_a_loop() -> None:
    assert compression("") == 0.0
    assert compression("Здравствуйте, чем могу помочь?") < 2.4 < compression("спасибо " * 40)


def aligned(*words: tuple[str, float, float]) -> list[Word]:
    return [Word(start=start, end=end, text=text, confidence=0.5) for text, start, end in words]


def test_words_that_the_alignment_lost_are_found_where_their_segment_was_written() -> None:
    cut = Cut(start=4.1, end=5.8, tokens=())
    lost = aligned(
        (" Гарантия", 3.52, 3.54),
        (" на", 3.54, 3.56),
        (" оборудование", 3.56, 3.58),
        (" два", 3.58, 3.6),
        (" года.", 3.6, 3.64),
    )
    found = found_again(lost, cut)
    assert [word.text for word in found] == [word.text for word in lost]
    assert found[0].start == 4.1
    assert [round(word.end, 2) for word in found] == [4.55, 4.67, 5.35, 5.52, 5.8]


def test_words_that_have_time_enough_stay_wherever_their_segment_was_written() -> None:
    words = aligned((" Добрый", 1.0, 1.4), (" день.", 1.4, 1.8))
    assert found_again(words, Cut(start=4.0, end=6.0, tokens=())) == words
    hurried = aligned((" Добрый", 1.0, 1.02), (" день.", 1.02, 1.04))
    assert found_again(hurried, Cut(start=4.0, end=4.05, tokens=())) == hurried, "there is no more room for them"
    assert found_again([], Cut(start=0.0, end=1.0, tokens=())) == []


@given(
    st.lists(st.tuples(st.text("абв ", min_size=1), st.floats(0, 20), st.floats(0, 5)), max_size=12),
    st.floats(0, 20),
    st.floats(0, 10),
)
def test_whatever_was_aligned_no_word_is_lost_and_those_moved_lie_in_order_within_their_segment(
    told: list[tuple[str, float, float]], start: float, length: float
) -> None:
    words = aligned(*((text, at, at + lasting) for text, at, lasting in told))
    cut = Cut(start=start, end=start + length, tokens=())
    found = found_again(words, cut)
    assert [word.text for word in found] == [word.text for word in words]
    if found != words:
        edges = [cut.start, *(edge for word in found for edge in (word.start, word.end)), cut.end]
        assert edges == pytest.approx(sorted(edges))
