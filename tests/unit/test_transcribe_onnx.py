"""The second engine with small ONNX models that spell what is whistled to them: loading, batches, words, languages."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from agent.archive.blobs import Archive
from agent.errors import ModelUnavailable
from agent.intake import Intake
from agent.settings import Settings, TranscribeSettings
from agent.store.engine import Store
from agent.transcribe.dialogue import transcribe_channels
from agent.transcribe.engine import NO_HINTS, SAMPLE_RATE, Hints, Recognised, Sound
from agent.transcribe.engines.onnx import OnnxEngine
from agent.transcribe.engines.spelled import NEUTRAL, Token, alike, figure, segments_of
from agent.transcribe.models.choosing import ChoosingEngine, hints_for, make_engine, model_of, models_of
from agent.transcribe.models.fetching import TINY_DEMO, fetch_model
from agent.transcribe.speech.channels import Channel
from agent.transcribe.transcriber import Transcriber
from tests.speech.onnx.build import WRITERS, write_ctc, write_t_one
from tests.speech.onnx.whistled import SPELLED_SECONDS, find_whistling, whistle
from tests.unit.hub_lab import Hub, running
from tests.unit.test_transcribe_job import record, stored
from tests.unit.test_transcribe_speech import CALLS, PARTIES, SOUND, flac, track

TEXTS = ["добро", "да", "сколко стоит в апрел", "молот нос", "а", "он ел"]
LEAD_SECONDS = 0.5


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("onnx")
    return {name: write(folder / name) for name, write in WRITERS.items()}


def padded(text: str) -> Sound:
    return np.pad(whistle(text), (round(LEAD_SECONDS * SAMPLE_RATE), SAMPLE_RATE // 4))


def text_of(segments: Sequence[Recognised]) -> str:
    return "".join(one.text for one in segments).strip()


# --- one model -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_each_sort_of_model_spells_what_it_hears_with_the_time_of_each_word(
    small_models: Mapping[str, Path], name: str
) -> None:
    engine = OnnxEngine(small_models[name], name=name, threads=1)
    answers = engine.recognise([padded(text) for text in TEXTS], "ru", NO_HINTS)
    assert [text_of(answer) for answer in answers] == TEXTS
    for text, answer in zip(TEXTS, answers, strict=True):
        words = [word for segment in answer for word in segment.words]
        at = LEAD_SECONDS
        for said, word in zip(text.split(), words, strict=True):
            assert word.text == f" {said}"
            assert word.start == pytest.approx(at, abs=0.08)
            assert word.end == pytest.approx(at + len(said) * SPELLED_SECONDS, abs=0.15)
            assert 0.5 < word.confidence <= 1
            at += (len(said) + 1) * SPELLED_SECONDS
        assert all(-0.5 < segment.log_probability <= 0 for segment in answer)


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_a_batch_says_what_each_window_says_alone(small_models: Mapping[str, Path], name: str) -> None:
    engine = OnnxEngine(small_models[name], name=name, threads=2)
    windows = [padded(text) for text in TEXTS * 3]
    together = engine.recognise(windows, "ru", NO_HINTS)
    assert together == [engine.recognise([window], "ru", NO_HINTS)[0] for window in windows]


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_several_threads_at_a_time_hear_what_one_hears(small_models: Mapping[str, Path], name: str) -> None:
    engine = OnnxEngine(small_models[name], name=name, threads=4)
    assert engine.lanes > 1
    windows = [[padded(text), padded(text[::-1])] for text in TEXTS * 4]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: engine.recognise(batch, "ru", NO_HINTS), windows))
    assert [text_of(first) for first, _ in together] == TEXTS * 4
    assert [text_of(second) for _, second in together] == [text[::-1] for text in TEXTS * 4]


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_silence_a_click_and_nothing_yield_nothing(small_models: Mapping[str, Path], name: str) -> None:
    engine = OnnxEngine(small_models[name], name=name, threads=1)
    quiet = [np.zeros(count, np.float32) for count in (0, 1, 100, SAMPLE_RATE, 29 * SAMPLE_RATE)]
    assert engine.recognise(quiet, "ru", NO_HINTS) == [[]] * len(quiet)
    assert engine.recognise([], "ru", NO_HINTS) == []


def test_a_pause_parts_two_segments(small_models: Mapping[str, Path]) -> None:
    engine = OnnxEngine(small_models["gigaam-v3-ctc"], name="gigaam-v3-ctc", threads=1)
    sound = np.concatenate([padded("да"), np.zeros(SAMPLE_RATE, np.float32), padded("он ел")])
    (first, second) = engine.recognise([sound], "ru", NO_HINTS)[0]
    assert (first.text, second.text) == (" да", " он ел")
    assert second.start == pytest.approx(2 * LEAD_SECONDS + 2 * SPELLED_SECONDS + 1.25, abs=0.08)


def test_memory_is_given_back_and_the_next_window_loads_it_again(small_models: Mapping[str, Path]) -> None:
    engine = OnnxEngine(small_models["t-one"], name="t-one", threads=1)
    engine.load()
    engine.unload()
    engine.unload()
    assert text_of(engine.recognise([padded("да")], "ru", NO_HINTS)[0]) == "да"


def test_for_a_cpu_the_int8_files_are_taken_where_they_are_there(tmp_path: Path) -> None:
    write_ctc(tmp_path, shift=1)
    assert text_of(OnnxEngine(tmp_path, name="x", threads=1).recognise([padded("дао")], "ru", NO_HINTS)[0]) == "ебп"
    write_ctc(tmp_path, quantized=True)
    assert text_of(OnnxEngine(tmp_path, name="x", threads=1).recognise([padded("дао")], "ru", NO_HINTS)[0]) == "дао"


def test_languages_are_those_of_the_name_or_of_the_directory(small_models: Mapping[str, Path], tmp_path: Path) -> None:
    sound = padded("да")
    assert OnnxEngine(small_models["t-one"], name="t-one").weigh_languages(sound) == {"ru": 1.0}
    assert OnnxEngine(small_models["t-one"], name="/some/where").weigh_languages(sound) == {"ru": 1.0}
    write_ctc(tmp_path)
    (tmp_path / "cardline.json").write_text('{"languages": ["kk", "ru"]}')
    assert OnnxEngine(tmp_path, name="x").weigh_languages(sound) == {"kk": 0.5, "ru": 0.5}


@pytest.mark.parametrize("spoiled", ["v3_ctc.onnx", "v3_vocab.txt", "config.json", "cardline.json"])
def test_a_broken_model_is_unavailable_not_a_crash(tmp_path: Path, spoiled: str) -> None:
    write_ctc(tmp_path)
    (tmp_path / spoiled).write_bytes(b"\x00garbage {")
    with pytest.raises(ModelUnavailable, match=r"cannot be (loaded|read)") as caught:
        OnnxEngine(tmp_path, name="x", threads=1).load()
    assert caught.value.remedy


@pytest.mark.parametrize("lost", ["v3_ctc.onnx", "v3_vocab.txt"])
def test_a_file_that_is_missing_is_named(tmp_path: Path, lost: str) -> None:
    write_ctc(tmp_path)
    (tmp_path / lost).unlink()
    with pytest.raises(ModelUnavailable, match=r"v\?_|v3_"):
        OnnxEngine(tmp_path, name="gigaam-v3-ctc", threads=1).load()


def test_a_directory_that_does_not_say_what_it_is_is_told_how_to(tmp_path: Path) -> None:
    write_t_one(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"features_size": 80}))
    with pytest.raises(ModelUnavailable, match="what sort of model") as caught:
        OnnxEngine(tmp_path, name=str(tmp_path)).load()
    assert '{"onnx": "nemo-conformer-ctc"' in caught.value.remedy


def test_without_the_package_the_extra_is_named(
    small_models: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx_asr", None)
    with pytest.raises(ModelUnavailable, match="needs the package onnx-asr") as caught:
        OnnxEngine(small_models["t-one"], name="t-one").load()
    assert "cardline[ru]" in caught.value.remedy


def test_a_gpu_that_is_asked_for_and_not_there_is_said(small_models: Mapping[str, Path]) -> None:
    with pytest.raises(ModelUnavailable, match="asks for a GPU") as caught:
        OnnxEngine(small_models["t-one"], name="t-one", device="cuda").load()
    assert "onnxruntime-gpu" in caught.value.remedy


def test_calls_with_different_names_are_heard_together_where_names_change_nothing(
    small_models: Mapping[str, Path],
) -> None:
    hints = Hints(names=("Anna",))
    onnx = OnnxEngine(small_models["t-one"], name="t-one")
    assert hints_for(onnx, "ru", hints) == NO_HINTS
    engine = ChoosingEngine("listener", {"ru": "t-one"}, lambda name: onnx if name == "t-one" else Listener("en"))
    assert hints_for(engine, "ru", hints) == NO_HINTS
    assert hints_for(engine, "en", hints) == hints


# --- pure ------------------------------------------------------------------------------------------------------------


def test_windows_of_like_length_go_together_and_never_too_many_seconds() -> None:
    lengths = [second * SAMPLE_RATE for second in (25, 2, 24, 2, 25, 1, 8, 8, 8, 8, 8, 8, 8, 8, 8, 30)]
    batches = list(alike(lengths))
    assert sorted(number for batch in batches for number in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[number] for number in batch)
        assert longest <= 1.3 * min(lengths[number] for number in batch)
        assert longest * len(batch) <= 60 * SAMPLE_RATE
    assert list(alike([])) == []
    assert list(alike([100 * SAMPLE_RATE])) == [[0]], "one alone goes however long it is"


def tokens(*told: tuple[str, float]) -> list[Token]:
    return [Token(text=text, start=start, log_probability=-0.1) for text, start in told]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([(" При", 0.1), ("вет", 0.3), (",", 0.5), (" мир", 0.6)], [" Привет,", " мир"]),
        ([("д", 0.1), ("а", 0.2), (" ", 0.3), ("о", 0.4), ("н", 0.5)], [" да", " он"]),
        ([(" ", 0.0), ("д", 0.1), (" ", 0.2), (" ", 0.3)], [" д"]),
        ([(" ", 0.0)], []),
        ([("да ", 0.0), ("нет", 0.3)], [" да", " нет"]),
    ],
)
def test_tokens_become_words(told: list[tuple[str, float]], words: list[str]) -> None:
    assert [word.text for one in segments_of(tokens(*told), "", 2.0) for word in one.words] == words


def test_a_word_ends_before_the_next_begins_and_within_the_window() -> None:
    (segment,) = segments_of(tokens((" a", 0.1), (" b", 0.14), (" c", 0.49)), "", 0.5)
    assert [word.start for word in segment.words] == [0.1, 0.14, 0.49]
    assert [word.end for word in segment.words] == pytest.approx([0.14, 0.22, 0.5])


def test_a_model_without_times_gives_one_segment_and_one_without_figures_is_neutral() -> None:
    (segment,) = segments_of([], " some words ", 3.0)
    assert (segment.start, segment.end, segment.text, segment.words) == (0.0, 3.0, "some words", ())
    assert segment.log_probability == NEUTRAL
    assert segments_of([], "  ", 3.0) == []


def test_figures_of_broken_weights_are_as_bad_as_can_be() -> None:
    assert [figure(one) for one in (-0.5, 0.1, float("nan"), float("-inf"), float("inf"))] == [-0.5, 0.0, -10, -10, -10]


# --- through the dialogue --------------------------------------------------------------------------------------------


def spoken(seconds: float, *told: tuple[float, str]) -> Channel:
    samples = np.zeros(round(seconds * SAMPLE_RATE), np.int16)
    for start, text in told:
        sound = (whistle(text) * 32767).astype(np.int16)
        at = round(start * SAMPLE_RATE)
        samples[at : at + len(sound)] = sound
    return Channel(samples=samples)


CALLER = ((1.0, "ало"), (10.0, "сколко стоит"), (40.0, "добро"))
CALLEE = ((3.0, "слон мал"), (20.0, "он ел и спал"))


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_a_call_of_two_channels_is_spelled_by_party_and_time(small_models: Mapping[str, Path], name: str) -> None:
    engine = OnnxEngine(small_models[name], name=name, threads=1)
    for channels in ((CALLER, CALLEE), (CALLEE, CALLER)):
        dialogue = transcribe_channels([spoken(45, *told) for told in channels], engine, ("ru",), find=find_whistling)
        expected = sorted((start, index, text) for index, told in enumerate(channels) for start, text in told)
        assert [(one.channel, one.text) for one in dialogue.utterances] == [(i, text) for _, i, text in expected]
        for one, (start, _, text) in zip(dialogue.utterances, expected, strict=True):
            assert one.start == pytest.approx(start, abs=0.05)
            assert one.words[0].start == pytest.approx(start, abs=0.1)
            assert one.end == pytest.approx(start + len(text) * SPELLED_SECONDS, abs=0.15)
        assert dialogue.dropped == ()


class Listener:
    """Hears a language and must not be asked for more."""

    name, join_seconds, batch, lanes = "listener", 25.0, 1, 1

    def __init__(self, language: str) -> None:
        self.language = language
        self.unloaded = 0

    def weigh_languages(self, sound: Sound) -> Mapping[str, float]:
        return {"ru": 0.01, "en": 0.01, "de": 0.01, self.language: 0.98}

    def recognise(self, windows: Sequence[Sound], language: str, hints: Hints) -> list[list[Recognised]]:
        raise AssertionError(f"{language} has a model of its own")

    def unload(self) -> None:
        self.unloaded += 1


@pytest.mark.parametrize(("language", "text"), [("ru", "дао"), ("en", "ебп")])
def test_the_model_of_the_language_that_was_heard_writes_it_down(tmp_path: Path, language: str, text: str) -> None:
    listener, opened = Listener(language), []
    directories = {"for-ru": write_ctc(tmp_path / "ru"), "for-en": write_ctc(tmp_path / "en", shift=1)}

    def open_engine(name: str) -> Listener | OnnxEngine:
        opened.append(name)
        return listener if name == "listener" else OnnxEngine(directories[name], name=name, threads=1)

    engine = ChoosingEngine("listener", {"ru": "for-ru", "en": "for-en"}, open_engine)
    dialogue = transcribe_channels([spoken(5, (1.0, "дао"))], engine, ("ru", "en"), find=find_whistling)
    assert (dialogue.language, [one.text for one in dialogue.utterances]) == (language, [text])
    assert opened == ["listener", f"for-{language}"], "no other model is fetched or loaded"
    assert model_of(engine, language) == f"for-{language}"
    assert model_of(engine, "de") == model_of(engine, "") == "listener"
    engine.unload()
    assert listener.unloaded == 1


def chosen(tmp_path: Path, **told: object) -> Settings:
    return Settings(data_dir=tmp_path, transcribe=TranscribeSettings.model_validate(told))


def test_settings_say_which_models_are_needed(tmp_path: Path) -> None:
    ru = {"ru": "gigaam-v3-ctc"}
    assert models_of(chosen(tmp_path, model="small")) == {"small": ("ru", "en")}
    assert models_of(chosen(tmp_path, model="small", models=ru)) == {"small": ("en",), "gigaam-v3-ctc": ("ru",)}
    assert models_of(chosen(tmp_path, model="small", models=ru, languages=["ru"])) == {"gigaam-v3-ctc": ("ru",)}
    both = {"ru": "t-one", "en": "turbo"}
    found = models_of(chosen(tmp_path, model="tiny", models=both))
    assert list(found.items()) == [("tiny", ()), ("t-one", ("ru",)), ("turbo", ("en",))]
    assert make_engine(chosen(tmp_path, model="small", models=ru)).name == "small, ru gigaam-v3-ctc"


def test_a_model_comes_from_the_hub_and_spells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_ctc(tmp_path / "source", quantized=True)
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    with running(Hub(files={"istupakov/gigaam-v3-onnx": files})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        directory = fetch_model("gigaam-v3-ctc", data_dir=tmp_path)
        engine = make_engine(chosen(tmp_path, model="gigaam-v3-ctc"))
        assert text_of(engine.recognise([padded("дао")], "ru", NO_HINTS)[0]) == "дао"
    assert directory == tmp_path / "models" / "gigaam-v3-ctc"


# --- the job ---------------------------------------------------------------------------------------------------------


async def test_a_russian_call_is_written_down_by_the_russian_model(
    store: Store, archive: Archive, intake: Intake, small_models: Mapping[str, Path], tmp_path: Path
) -> None:
    """The demo's model hears that it is Russian; then only the other one is asked. Speech gives letters, not words."""
    sound = flac([track(SOUND / CALLS[2]["files"][party]) for party in PARTIES]).getvalue()
    interaction_id, recording_id = await record(store, archive, intake, sound)
    model = str(small_models["gigaam-v3-ctc"])
    transcriber = Transcriber(store, archive, chosen(tmp_path, model=TINY_DEMO, models={"ru": model}, threads=1))
    for _ in range(2):
        await transcriber.transcribe(recording_id)
    await transcriber.close()
    (transcript,) = await stored(store, interaction_id)
    assert (transcript.model, transcript.language) == (model, "ru")
    turns = [channel for channel, _ in groupby(one.channel for one in transcript.utterances)]
    assert [PARTIES[channel] for channel in turns] == [phrase["party"] for phrase in CALLS[2]["phrases"]]
    assert {letter for one in transcript.utterances for letter in one.text} <= set(" абвгдеиклмнопрст")


async def test_a_whistled_recording_goes_through_the_whole_job(
    store: Store,
    archive: Archive,
    intake: Intake,
    small_models: Mapping[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.transcribe.transcriber.find_speech", find_whistling)
    tracks = [spoken(45, *told).samples[::2] for told in (CALLER, CALLEE)]
    interaction_id, recording_id = await record(store, archive, intake, flac(tracks).getvalue())
    settings = chosen(
        tmp_path, model="large-v3", models={"ru": str(small_models["gigaam-v3-rnnt"])}, languages=["ru"], threads=1
    )
    transcriber = Transcriber(store, archive, settings)
    await transcriber.transcribe(recording_id)
    await transcriber.close()
    (transcript,) = await stored(store, interaction_id)
    said = [text for _, text in sorted((*CALLER, *CALLEE))]
    assert [one.text for one in transcript.utterances] == said
    assert transcript.model == str(small_models["gigaam-v3-rnnt"])
