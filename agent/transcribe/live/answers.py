"""What was understood of a call while it went on, for the job that transcribes its recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.transcribe.answers import AnswerSeal, unpack_speech, window_key
from agent.transcribe.engine import Hints, Recognised, Sound, Stretch
from agent.transcribe.soundkeys import SoundKeys
from agent.transcribe.speech.channels import Channel
from agent.transcribe.speech.planning import FindSpeech, Plan


class LiveAnswers:
    """The rows of `agent.store.livespeech` of one recording. Nothing of them is taken for any other sound."""

    def __init__(self, rows: Mapping[bytes, bytes], keys: SoundKeys, seal: AnswerSeal) -> None:
        self._rows, self._keys, self._seal = rows, keys, seal

    def finding(self, find: FindSpeech) -> FindSpeech:
        """The same as ``find``, which is asked for what was not heard yet only."""
        if not self._rows:
            return find

        def find_or_know(sound: Sound) -> list[Stretch]:
            row = self._rows.get(self._keys.of_block(sound))
            return find(sound) if row is None else unpack_speech(row)

        return find_or_know

    def answers(
        self, plan: Plan, channels: Sequence[Channel], *, model: str, language: str, hints: Hints
    ) -> dict[bytes, list[Recognised]]:
        """Answers to windows of the plan, by their keys (`answers.window_key`). Blocks: the sound is read."""
        found = {}
        for planned in plan.windows if self._rows else ():
            print_ = self._keys.of_window(planned, channels)
            key = self._keys.of_question(print_, model=model, language=language, hints=hints)
            if key in self._rows and (answer := self._seal.open(self._rows[key], recording_id=0, key=key)) is not None:
                found[window_key(planned, model=model, language=language)] = answer
        return found
