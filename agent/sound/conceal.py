"""What may have sounded in a short loss, from the sound on both of its sides.

In the manner of G.711 Appendix I: the last pitch period is repeated and fades. As a recording knows what came after,
the first period behind the loss is repeated backwards too, and the two are faded into one another, so that nothing
that really came has to be altered. Pure.
"""

from __future__ import annotations

import numpy as np

from agent.sound.codecs import Samples
from agent.sound.rtp import Floats

LONGEST = 0.060  # seconds; of a longer loss nothing is made up
HISTORY = 0.040  # seconds of sound that are looked at on each side
_SHORTEST_PITCH, _LONGEST_PITCH = 0.005, 0.015  # seconds: 200 to 66 Hz (G.711 Appendix I, I.2.2)
_FULL = 0.010  # seconds before it begins to fade, then by 20 % each 10 ms
_FADE = 20.0  # a second


def conceal(before: Samples, after: Samples, count: int, rate: int) -> Samples:
    """``count`` samples to stand between; silence where there is not enough on either side to go by."""
    forward = _extend(before.astype(np.float64), count, rate)
    backward = _extend(after[::-1].astype(np.float64), count, rate)[::-1]
    weight = (np.arange(count) + 0.5) / count
    mixed: Samples = np.clip(np.rint(forward * (1 - weight) + backward * weight), -32768, 32767).astype(np.int16)
    return mixed


def _extend(sound: Floats, count: int, rate: int) -> Floats:
    """Go on after ``sound`` for ``count`` samples by repeating its last pitch period, ever softer."""
    sound = sound[-round(HISTORY * rate) :]
    period = _pitch(sound, rate)
    if not period:
        return np.zeros(count)
    repeated = np.resize(sound[-period:], count)
    fading = np.clip(1 - _FADE * (np.arange(count) / rate - _FULL), 0, 1)
    return repeated * fading


def _pitch(sound: Floats, rate: int) -> int:
    """Samples of the period by which the end of ``sound`` is most like what came before it; 0 if it is too short.

    Looked for at about 8000 Hz whatever the rate: a loss may come every second for hours.
    """
    step = max(rate // 8000, 1)
    sound = sound[::-1][::step][::-1]
    shortest, longest = round(_SHORTEST_PITCH * rate / step), round(_LONGEST_PITCH * rate / step)
    window = len(sound) - longest
    if window < shortest:
        return 0
    end = sound[-window:]
    earlier = np.lib.stride_tricks.sliding_window_view(sound, window)[: longest - shortest + 1][::-1]
    likeness = earlier @ end / np.sqrt((earlier**2).sum(axis=1) + 1)
    return (shortest + int(np.argmax(likeness))) * step
