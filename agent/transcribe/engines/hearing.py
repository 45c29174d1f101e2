"""One batch of windows through a loaded Whisper, by CTranslate2 directly: encoded and then written down at once.

faster-whisper's own loop takes one window after the other, and its batched pipeline knows neither fallback to other
temperatures nor windows that are shorter than 30 s. What windows of a batch share is the length of their features and
the prompt: CTranslate2 wants ``<|startoftranscript|>`` at one position in all of a batch (`Whisper.generate`), and
hints stand before it. To fill shorter ones up would make what is heard depend on whoever is heard beside it, so calls
with different hints are heard apart. On a CPU a batch is encoded window by window: at once it is no faster, and each
takes 9 MB a head.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from agent.transcribe.engine import SAMPLE_RATE, Hints, Recognised, Sound
from agent.transcribe.engines.habits import Habits
from agent.transcribe.engines.segments import Cut, compression, cut_segments, found_again, words_of

log = structlog.get_logger()

FRAMES_A_SECOND = 100
WINDOW_SECONDS = 30
_STEP_SECONDS = 2.5  # short windows are as long as a multiple of it, so that several are of one length
_TAIL_SECONDS = 0.5  # of nothing behind the sound of a short window
_LEAST_SECONDS = 0.1  # of sound: features need half a frame on both sides
_MOST_TOKENS = 448  # positions of a Whisper's decoder
_TOKENS_A_SECOND, _TOKENS_AT_LEAST = 40, 20  # nobody says more: a loop ends there, and not after 448
_FIRST_TIME_SECONDS = 1.0  # the first time a model may write
_IMPROBABLE, _REPEATS, _NO_SPEECH = -1.0, 2.4, 0.6  # Radford et al. 2022, section 4.5
_HYPOTHESES = 5  # of a temperature above 0
_KEPT = 8  # encoded windows by which a language was told, for they are recognised next

Features = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """What was written for a window, with its figures."""

    tokens: tuple[int, ...]
    text: str
    no_speech: float
    log_probability: float

    @property
    def is_doubtful(self) -> bool:
        """Whether another temperature may do better: it repeats itself or is improbable, and somebody speaks."""
        improbable = self.log_probability < _IMPROBABLE
        return compression(self.text) > _REPEATS or (improbable and self.no_speech <= _NO_SPEECH)


class Hearing:
    """A loaded model with its tokenizers. Safe to call from several threads."""

    def __init__(self, model: Any, make_tokenizer: Any, habits: Habits) -> None:
        """``model`` is faster-whisper's, ``make_tokenizer`` gives its tokenizer of a language and what that may not
        write."""
        self._model = model
        self._make_tokenizer = make_tokenizer
        self._habits = habits
        self._tokenizers: dict[str, tuple[Any, list[int]]] = {}
        self._encoded: OrderedDict[bytes, Features] = OrderedDict()
        self._lock = threading.Lock()

    def weigh_languages(self, sound: Sound) -> dict[str, float]:
        """Probabilities by Whisper's own language tokens; an English-only model knows English."""
        if not self._model.model.is_multilingual:
            return {"en": 1.0}
        sound = sound[: WINDOW_SECONDS * SAMPLE_RATE]
        encoded = self._encode([sound], self._frames(sound))
        if self._is_on_cpu:
            with self._lock:
                self._encoded[_digest(sound)] = np.array(encoded)
                while len(self._encoded) > _KEPT:
                    self._encoded.popitem(last=False)
        found = self._model.model.detect_language(encoded)[0]
        return {token[2:-2]: float(probability) for token, probability in found}

    def recognise(self, windows: Sequence[Sound], language: str, hints: Hints) -> list[list[Recognised]]:
        """One answer a window, in order."""
        answers: list[list[Recognised]] = [[] for _ in windows]
        waiting = [(index, 0.0, sound[: WINDOW_SECONDS * SAMPLE_RATE]) for index, sound in enumerate(windows)]
        while waiting:
            rest: list[tuple[int, float, Sound]] = []
            for group in self._by_length(waiting):
                heard = self._batch([sound for _, _, sound in group], language, hints)
                for (index, offset, sound), (segments, until) in zip(group, heard, strict=True):
                    answers[index] += [_later(segment, offset) for segment in segments]
                    if until is not None and until >= 1.0 and len(sound) / SAMPLE_RATE - until >= 1.0:
                        rest.append((index, offset + until, sound[round(until * SAMPLE_RATE) :]))
            waiting = rest
        return answers

    def _by_length(self, waiting: list[tuple[int, float, Sound]]) -> list[list[tuple[int, float, Sound]]]:
        groups: dict[int, list[tuple[int, float, Sound]]] = {}
        for item in waiting:
            groups.setdefault(self._frames(item[2]), []).append(item)
        return list(groups.values())

    def _batch(self, sounds: list[Sound], language: str, hints: Hints) -> list[tuple[list[Recognised], float | None]]:
        tokenizer, suppressed = self._tokenizer(language)
        encoded = self._encode(sounds, self._frames(sounds[0]))
        seconds = [len(sound) / SAMPLE_RATE for sound in sounds]
        written = self._write(encoded, self._prompt(tokenizer, hints), tokenizer, suppressed, max(seconds))
        cuts = [
            cut_segments(one.tokens, first_time=tokenizer.timestamp_begin, seconds=length)
            for one, length in zip(written, seconds, strict=True)
        ]
        aligned = self._align(encoded, tokenizer, [found for found, _ in cuts], seconds)
        return [
            (_recognised(one, found, alignment, tokenizer), until)
            for one, (found, until), alignment in zip(written, cuts, aligned, strict=True)
        ]

    def _write(
        self, encoded: Any, prompt: list[int], tokenizer: Any, suppressed: list[int], seconds: float
    ) -> list[_Written]:
        """Beam search first; what is doubtful then is tried again at higher temperatures, the best of all is kept."""
        count = int(encoded.shape[0])
        most = len(prompt) + _TOKENS_AT_LEAST + math.ceil(seconds * _TOKENS_A_SECOND)
        settings = {
            "max_length": min(_MOST_TOKENS, most),
            "suppress_tokens": suppressed,
            "return_scores": True,
            "return_no_speech_prob": True,
            "max_initial_timestamp_index": round(_FIRST_TIME_SECONDS * 50),
        }
        best: list[_Written | None] = [None] * count
        waiting = list(range(count))
        for temperature in self._habits.temperatures:
            how = (
                {"beam_size": 1, "num_hypotheses": _HYPOTHESES, "sampling_topk": 0, "sampling_temperature": temperature}
                if temperature > 0
                else {"beam_size": self._habits.beam_size}
            )
            rows = encoded if len(waiting) == count else self._rows(encoded, waiting)
            results = self._model.model.generate(rows, [prompt] * len(waiting), **settings, **how)
            for index, result in zip(waiting, results, strict=True):
                best[index] = _better(best[index], _written(result, tokenizer))
            waiting = [index for index in waiting if (one := best[index]) is not None and one.is_doubtful]
            if not waiting:
                break
        return [one for one in best if one is not None]

    def _align(
        self, encoded: Any, tokenizer: Any, cuts: list[list[Cut]], seconds: list[float]
    ) -> list[list[Mapping[str, Any]]]:
        """The times of the words of each window; none where the model's are of no use."""
        aligned: list[list[Mapping[str, Any]]] = [[] for _ in cuts]
        spoken = [index for index, found in enumerate(cuts) if found]
        if not self._habits.word_times or not spoken:
            return aligned
        tokens = [[token for cut in cuts[index] for token in cut.tokens] for index in spoken]
        frames = [max(2, round(seconds[index] * FRAMES_A_SECOND)) for index in spoken]
        rows = encoded if len(spoken) == len(cuts) else self._rows(encoded, spoken)
        try:
            found = self._model.find_alignment(tokenizer, tokens, rows, frames)
        except (IndexError, ValueError) as error:  # an attention without any way through it
            log.warning("words_without_times", reason=repr(error))
            return aligned
        for index, alignment in zip(spoken, found, strict=True):
            aligned[index] = alignment
        return aligned

    def _encode(self, sounds: list[Sound], frames: int) -> Any:
        """Encoder output of shape (windows, frames / 2, width)."""
        kept = self._take_encoded(sounds, frames)
        fresh = [self._features(sound, frames) for index, sound in enumerate(sounds) if index not in kept]
        if not self._is_on_cpu:
            return self._model.encode(np.stack(fresh))
        rows = iter([np.asarray(self._model.encode(features))[0] for features in fresh])
        return _storage(np.stack([kept[index] if index in kept else next(rows) for index in range(len(sounds))]))

    def _features(self, sound: Sound, frames: int) -> Features:
        """The logarithmic mel spectrum of a window, and nothing behind it."""
        least = round(_LEAST_SECONDS * SAMPLE_RATE)
        found = self._model.feature_extractor(np.pad(sound, (0, max(0, least - len(sound)))))[:, :frames]
        features: Features = np.pad(found, ((0, 0), (0, frames - found.shape[1])))
        return features

    def _take_encoded(self, sounds: list[Sound], frames: int) -> dict[int, Features]:
        """What is encoded already among the sounds."""
        with self._lock:
            if not self._encoded:
                return {}
            found = {index: self._encoded.pop(_digest(sound), None) for index, sound in enumerate(sounds)}
        return {index: one[0] for index, one in found.items() if one is not None and one.shape[1] == frames // 2}

    def _rows(self, encoded: Any, indices: list[int]) -> Any:
        """Some windows of a batch."""
        if self._is_on_cpu:
            return _storage(np.asarray(encoded)[indices])
        import ctranslate2

        on_cpu = encoded.to(ctranslate2.DataType.float32).to_device(ctranslate2.Device.cpu)
        return _storage(np.asarray(on_cpu)[indices])

    @property
    def _is_on_cpu(self) -> bool:
        return bool(self._model.model.device == "cpu")

    def _frames(self, sound: Sound) -> int:
        """How many feature frames a window is given: those of 30 s, unless the model may be given fewer."""
        if not self._habits.short_windows:
            return WINDOW_SECONDS * FRAMES_A_SECOND
        steps = math.ceil((len(sound) / SAMPLE_RATE + _TAIL_SECONDS) / _STEP_SECONDS)
        return min(WINDOW_SECONDS * FRAMES_A_SECOND, round(steps * _STEP_SECONDS * FRAMES_A_SECOND))

    def _tokenizer(self, language: str) -> tuple[Any, list[int]]:
        with self._lock:
            if language not in self._tokenizers:
                self._tokenizers[language] = self._make_tokenizer(language)
            return self._tokenizers[language]

    def _prompt(self, tokenizer: Any, hints: Hints) -> list[int]:
        words = ", ".join((*hints.names, *hints.glossary)) if self._habits.hints else ""
        prompt: list[int] = self._model.get_prompt(
            tokenizer, [], without_timestamps=not self._habits.timestamps, hotwords=words or None
        )
        return prompt


def _written(result: Any, tokenizer: Any) -> _Written:
    tokens = tuple(result.sequences_ids[0])
    total = float(result.scores[0]) * len(tokens)
    return _Written(
        tokens=tokens,
        text=tokenizer.decode(list(tokens)).strip(),
        no_speech=float(result.no_speech_prob),
        log_probability=total / (len(tokens) + 1),
    )


def _better(last: _Written | None, new: _Written) -> _Written:
    """The new one where it is sound; among doubtful ones that which repeats itself less, then the likelier."""
    if last is None or not new.is_doubtful:
        return new
    return max(last, new, key=lambda one: (compression(one.text) <= _REPEATS, one.log_probability))


def _recognised(
    written: _Written, cuts: Sequence[Cut], alignment: Sequence[Mapping[str, Any]], tokenizer: Any
) -> list[Recognised]:
    segments = []
    for cut in cuts:
        text = tokenizer.decode(list(cut.tokens))
        aligned, used = words_of(alignment, len(cut.tokens))
        alignment = alignment[used:]
        words = found_again(aligned, cut)
        if text.strip():
            segments.append(
                Recognised(
                    start=words[0].start if words else cut.start,
                    end=max(words[-1].end, words[0].start) if words else cut.end,
                    text=text,
                    no_speech=written.no_speech,
                    log_probability=written.log_probability,
                    compression=compression(written.text),
                    words=tuple(words),
                )
            )
    return segments


def _later(segment: Recognised, seconds: float) -> Recognised:
    if not seconds:
        return segment
    words = tuple(replace(word, start=word.start + seconds, end=word.end + seconds) for word in segment.words)
    return replace(segment, start=segment.start + seconds, end=segment.end + seconds, words=words)


def _storage(array: Features) -> Any:
    import ctranslate2

    return ctranslate2.StorageView.from_array(np.ascontiguousarray(array))


def _digest(sound: Sound) -> bytes:
    return hashlib.blake2b(sound.tobytes(), digest_size=16).digest()
