"""What was understood of a call while it went on, for the job that transcribes its recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.transcribe.answers import AnswerSeal, unpack_weights, window_key
from agent.transcribe.engine import Hints, Recognised
from agent.transcribe.live.remembered import Remembered
from agent.transcribe.soundkeys import SoundKeys
from agent.transcribe.speech.channels import Channel
from agent.transcribe.speech.planning import COMPARING, Comparing, FindSpeech, KnownWeights, Plan, Planned, Weights


class LiveAnswers:
    """The rows of `agent.store.livespeech` of one recording. Nothing of them is taken for any other sound."""

    def __init__(self, rows: Mapping[bytes, bytes], keys: SoundKeys, seal: AnswerSeal) -> None:
        self._rows, self._keys, self._seal = rows, keys, seal

    def finding(self, find: FindSpeech) -> FindSpeech:
        """The same as ``find``, which is asked for what was not heard yet only."""
        return Remembered(self._keys, self._rows.get).finding(find) if self._rows else find

    @property
    def comparing(self) -> Comparing:
        """How channels are compared, as far as that was not done yet."""
        return Remembered(self._keys, self._rows.get).comparing if self._rows else COMPARING

    def weights(self, channels: Sequence[Channel], *, model: str) -> KnownWeights:
        """What the model said of a window's language. Blocks: the sound is read."""

        def known(planned: Planned) -> Weights | None:
            if not self._rows:
                return None
            key = self._keys.of_weighing(self._keys.of_window(planned, channels), model=model)
            return unpack_weights(self._rows[key]) if key in self._rows else None

        return known

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
