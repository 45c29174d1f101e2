"""How fast a model is on this machine, measured by a process of its own: ``-m agent.transcribe.capacity.measuring``.

A model that is too large for the memory is killed with its process and costs nothing else. What is to be measured comes
as JSON on the standard input, the figures go to the standard output.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic

import numpy as np

from agent.errors import CardlineError
from agent.logs import configure_logging
from agent.transcribe.capacity.sizing import WINDOW_SPEECH_SECONDS, BlindWhisper
from agent.transcribe.engine import NO_HINTS, Engine, Sound
from agent.transcribe.models.choosing import engine_in
from agent.transcribe.speech.channels import Channel, read_channels
from agent.transcribe.speech.planning import plan
from agent.transcribe.speech.speechfinder import find_speech

_SAMPLE_SECONDS = 60.0  # the sample is repeated until it is that long


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to measure: the model in ``directory``, or one of the shape of ``size`` that knows nothing.

    ``sound``: files of one voice in ``language``. ``seconds``: how long at least.
    """

    name: str
    directory: str = ""
    size: str = ""
    sound: tuple[str, ...] = ()
    language: str = "ru"
    threads: int = 1
    device: str = "auto"
    seconds: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """``speed``: seconds of speech transcribed in a second; ``memory_mb``: most that the process took."""

    speed: float
    load_seconds: float
    memory_mb: float
    error: str = ""


def measure(order: Order) -> Measured:
    """Load the model and let it work for a while; the speed is that of the last and largest round."""
    began = monotonic()
    if order.size:
        blind = BlindWhisper(order.size, threads=order.threads, device=_device(order.device))
        loaded = monotonic() - began
        speed = _blind_speed(blind, order.seconds)
    else:
        engine = engine_in(Path(order.directory), order.name, threads=order.threads, device=order.device)
        engine.load()
        loaded = monotonic() - began
        speed = _speed(engine, order)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(speed=speed, load_seconds=loaded, memory_mb=memory)


def _device(device: str) -> str:
    import ctranslate2

    if device == "auto":
        return "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
    return device


def _blind_speed(model: BlindWhisper, seconds: float) -> float:
    model.window()  # the first one takes memory
    began = monotonic()
    taken: list[float] = []
    while not taken or monotonic() - began < seconds:
        taken.append(model.window())
    return WINDOW_SPEECH_SECONDS / sorted(taken)[len(taken) // 2]


def _speed(engine: Engine, order: Order) -> float:
    """Rounds of more and more windows, as the worker gives them: batches, several at a time."""
    windows, spoken = _windows(engine, order.sound)
    most, count = engine.batch * engine.lanes, 1
    began = monotonic()
    while True:
        chosen = [number % len(windows) for number in range(count)]
        work = _round(engine, [windows[number] for number in chosen], order.language)
        speed = sum(spoken[number] for number in chosen) / work
        left = order.seconds - (monotonic() - began)
        if left < work * (2 if count < most else 1):
            return speed
        count = min(most, 2 * count)


def _round(engine: Engine, windows: Sequence[Sound], language: str) -> float:
    share = max(1, -(-len(windows) // engine.lanes))
    batches = [windows[at : at + share] for at in range(0, len(windows), share)]
    began = monotonic()
    with ThreadPoolExecutor(len(batches)) as pool:
        list(pool.map(lambda batch: engine.recognise(batch, language, NO_HINTS), batches))
    return monotonic() - began


def _windows(engine: Engine, sound: Sequence[str]) -> tuple[list[Sound], list[float]]:
    """Windows as a call would have them, and how much speech is in each."""
    voices = []
    for path in sound:
        with Path(path).open("rb") as file:
            channel = read_channels(file)[0]
            voices.append(channel.samples[0 : len(channel.samples)])
    once = np.concatenate(voices)
    times = max(1, round(_SAMPLE_SECONDS * channel.rate / len(once)))
    long = Channel(samples=np.tile(once, times), rate=channel.rate)
    planned = plan([long], join_seconds=engine.join_seconds, find=find_speech).windows
    spoken = [sum(piece.speech.end - piece.speech.start for piece in one.window.pieces) for one in planned]
    return [one.cut([long]) for one in planned], spoken


def main() -> None:
    """Measure what the standard input asks for."""
    configure_logging("text", level="WARNING")
    told = json.load(sys.stdin)
    order = Order(**{**told, "sound": tuple(told["sound"])})
    try:
        measured = measure(order)
    except CardlineError as error:
        measured = Measured(speed=0.0, load_seconds=0.0, memory_mb=0.0, error=str(error))
    json.dump(asdict(measured), sys.stdout)


if __name__ == "__main__":
    main()
