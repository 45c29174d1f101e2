"""The demo's people, calls and mails, and what must stand on which card in the end. Everybody here is invented.

Numbers are from ranges that no plan hands out (+7 495 000-00-xx, +1 202 555-01xx), addresses from RFC 2606.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from typing import Any

import av
import numpy as np

from agent.demo.siprec_client import PlayedCall
from agent.model import Direction, Disposition

ADMINISTRATOR = "demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Employee:
    """A manager of the demo's company."""

    name: str
    extension: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A card that is there before anything happens."""

    name: str
    phone: str
    address: str


ANNA = Employee(name="Анна Смирнова", extension="101", address="anna@example.com")
KATE = Employee(name="Kate Morgan", extension="102", address="kate@example.com")
PETROV = Client(name="Сергей Петров", phone="+7 495 000-00-11", address="s.petrov@example.org")
CARTER = Client(name="John Carter", phone="+1 202 555-0143", address="john.carter@example.net")
EMPLOYEES = (ANNA, KATE)
CLIENTS = (PETROV, CARTER)
STRANGER = "+74950000099"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedCall:
    """A call as it must stand in a history; ``spoken`` are the phrases in order, ``client`` None for the stranger."""

    client: Client | None
    direction: Direction
    disposition: Disposition
    seconds: float = 0.0
    spoken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedCall:
    """A call to be played, and what must become of it."""

    title: str
    played: PlayedCall
    expected: ExpectedCall


def stage_calls() -> list[StagedCall]:
    """The four calls: inbound in Russian, outbound in English, missed, and one from an unknown number."""
    sound = {str(one["name"]): one for one in json.loads(_file("calls.json").decode())}
    return [
        _spoken("inbound, Russian", sound["inbound-ru"], ("74950000011", PETROV.name), ("101", ANNA.name), PETROV),
        _spoken("outbound, English", sound["outbound-en"], ("102", KATE.name), ("12025550143", CARTER.name), CARTER),
        _missed("missed", ("74950000011", PETROV.name), ("101", ANNA.name), PETROV),
        _spoken("unknown number", sound["unknown-ru"], (STRANGER, ""), ("101", ANNA.name), None),
    ]


def _spoken(
    title: str, sound: Mapping[str, Any], caller: tuple[str, str], callee: tuple[str, str], client: Client | None
) -> StagedCall:
    phrases = sorted(sound["phrases"], key=lambda phrase: float(phrase["start"]))
    return StagedCall(
        title=title,
        played=PlayedCall(
            caller=caller[0],
            caller_name=caller[1],
            callee=callee[0],
            callee_name=callee[1],
            caller_sound=_a_law(sound["files"]["caller"]),
            callee_sound=_a_law(sound["files"]["callee"]),
            ring_s=1.0,
        ),
        expected=ExpectedCall(
            client=client,
            direction=Direction(sound["direction"]),
            disposition=Disposition.ANSWERED,
            seconds=float(sound["seconds"]),
            spoken=tuple(phrase["text"] for phrase in phrases),
        ),
    )


def _missed(title: str, caller: tuple[str, str], callee: tuple[str, str], client: Client) -> StagedCall:
    played = PlayedCall(
        caller=caller[0], caller_name=caller[1], callee=callee[0], callee_name=callee[1], answered=False, ring_s=3.0
    )
    expected = ExpectedCall(client=client, direction=Direction.INBOUND, disposition=Disposition.NO_ANSWER)
    return StagedCall(title=title, played=played, expected=expected)


def _file(name: str) -> bytes:
    return files("agent.demo.sound").joinpath(name).read_bytes()


def _a_law(name: str) -> bytes:
    """The A-law bytes of a committed sound file, whatever container and codec it has."""
    encoder = av.CodecContext.create("pcm_alaw", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 8000, "mono", "s16"
    with av.open(BytesIO(_file(name)), "r") as container:
        frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    samples = np.concatenate(frames).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = 8000
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
