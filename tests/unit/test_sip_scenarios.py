"""Call scenarios as text (tests/scenarios/siprec), played over real sockets into a recording server.

``>`` is a request of the client with the labels and directions of its streams, followed by its metadata; ``@`` says
how the client writes its bodies; ``=`` is what must be known of the call in the end. ``answered 2`` means: by the
second request.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.model import CapturedCall
from tests.unit.sip_peers import SCENARIOS, Phone, bench, multipart, request, sdp, status, to_tag

FILES = sorted(SCENARIOS.glob("*.txt"))


@dataclass(slots=True)
class Step:
    method: str
    words: list[str]
    metadata: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Scenario:
    ways: dict[str, str]
    steps: list[Step]
    expected: list[tuple[str, str]]


def read_scenario(path: Path) -> Scenario:
    scenario = Scenario({}, [], [])
    for line in path.read_text().splitlines():
        mark, _, rest = line.partition(" ")
        if mark == "@":
            name, _, value = rest.partition(" ")
            scenario.ways[name] = value
        elif mark == ">":
            method, *words = rest.split()
            scenario.steps.append(Step(method, words))
        elif mark == "=":
            noun, _, value = rest.partition(" ")
            scenario.expected.append((noun, value))
        elif mark != "#" and scenario.steps:
            scenario.steps[-1].metadata.append(line)
    return scenario


def body_of(step: Step, ways: dict[str, str]) -> tuple[str, bytes]:
    offer = b""
    if step.method != "BYE" and step.words:
        labels = [word.split(":") for word in step.words]
        offer = sdp(*(f"{label or '-'} {direction}" for label, direction in labels)).replace(b"a=label:-\r\n", b"")
    metadata = "\n".join(step.metadata).encode()
    if not metadata:
        return ("application/sdp", offer) if offer else ("", b"")
    if not offer:
        return "application/rs-metadata+xml", metadata
    kind, body = multipart(offer, metadata)
    body = body.replace(
        b"application/rs-metadata+xml", ways.get("metadata-type", "application/rs-metadata+xml").encode()
    )
    if "tight" in ways:
        body = body.replace(b"Content-Type: ", b"Content-Type:")
    return kind, body.replace(b"\r\n", b"\n") if "bare-lf" in ways else body


async def play(scenario: Scenario, data_dir: Path) -> tuple[CapturedCall, list[tuple[datetime, datetime]]]:
    """The call as it is known in the end, and from when to when each request went on."""
    times, tag = [], ""
    async with bench(data_dir) as b:
        with Phone(b.address) as phone:
            for cseq, step in enumerate(scenario.steps, start=1):
                kind, body = body_of(step, scenario.ways)
                extra = (f"Reason: {' '.join(step.words)}",) if step.method == "BYE" and step.words else ()
                began = datetime.now(UTC)
                answer = await phone.ask(
                    request(step.method, phone, cseq=cseq, to_tag=tag, content_type=kind, body=body, extra=extra)
                )
                times.append((began, datetime.now(UTC)))
                assert status(answer) == 200, (step, answer)
                tag = tag or to_tag(answer)
                if step.method == "INVITE":
                    await phone.send(request("ACK", phone, cseq=cseq, to_tag=tag, branch=f"z9hG4bKack{cseq}"))
        [call] = await b.ended()
    return call, times


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
async def test_scenario(path: Path, tmp_path: Path) -> None:
    scenario = read_scenario(path)
    assert scenario.steps and scenario.expected
    call, times = await play(scenario, tmp_path)
    values = dict(scenario.expected)
    parties = [f"{p.position} {p.channel} {p.value} {p.name}".strip() for p in call.parties]
    assert parties == [value for noun, value in scenario.expected if noun == "party"]
    assert call.disposition.value == values["disposition"]
    assert [f"{s['label']}:{s['channel']}" for s in call.details["streams"]] == values["streams"].split()
    flags = [value for noun, value in scenario.expected if noun == "flag"]
    assert all(any(flag in found for found in call.flags) for flag in flags), call.flags
    assert call.ended and times[-1][0] <= call.ended <= times[-1][1]
    assert times[0][0] <= call.started <= times[0][1]
    if "answered" in values:
        began, done = times[int(values["answered"]) - 1]
        assert call.answered and began <= call.answered <= done
    assert values.get("key", call.key) == call.key
    assert values.get("conversation", call.conversation_key) == call.conversation_key
    if "left" in values:
        position, left = values["left"].split()
        assert [p.left.isoformat() for p in call.parties if p.position == position and p.left] == [left]


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 10
