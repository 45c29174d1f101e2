"""Call scenarios as text (tests/scenarios/siprec), played over real sockets into a recording server.

``>`` is a request of the client with the labels and directions of its streams, followed by its metadata; ``+`` adds a
header to it and ``!`` is the answer it must get (200 where none is given). ``noack`` among its words leaves the ACK
away. ``@`` says how the client writes its messages; ``=`` is what must be known of the call in the end. ``answered 2``
means: by the second request; ``joined 1 2`` and ``left 1 2``: party 1 (from 0) joined and left with the second request,
or at a time that is written out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.model import CapturedCall
from tests.unit.sip_peers import SCENARIOS, Phone, bench, multipart, request, sdp, status, to_tag

FILES = sorted(SCENARIOS.glob("*.txt"))
WAYS = {"tight", "bare-lf", "metadata-type", "bom", "length", "transport", "contact", "boundary"}
NOUNS = {
    *("party", "streams", "disposition", "answered", "key", "conversation", "flag", "flags"),
    *("joined", "left", "detail"),
}


@dataclass(slots=True)
class Step:
    method: str
    words: list[str]
    metadata: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    status: int = 200
    acknowledged: bool = True


@dataclass(slots=True)
class Scenario:
    ways: dict[str, str]
    steps: list[Step]
    expected: list[tuple[str, str]]

    def all(self, noun: str) -> list[str]:
        return [value for name, value in self.expected if name == noun]

    def one(self, noun: str) -> str | None:
        return next(iter(self.all(noun)), None)


def read_scenario(path: Path) -> Scenario:
    scenario = Scenario({}, [], [])
    for line in path.read_text().splitlines():
        mark, _, rest = line.partition(" ")
        if mark == "@":
            name, _, value = rest.partition(" ")
            scenario.ways[name] = value
        elif mark == ">":
            method, *words = rest.split()
            step = Step(method, [word for word in words if word != "noack"], acknowledged="noack" not in words)
            scenario.steps.append(step)
        elif mark == "=":
            noun, _, value = rest.partition(" ")
            scenario.expected.append((noun, value))
        elif mark == "+":
            scenario.steps[-1].headers.append(rest)
        elif mark == "!":
            scenario.steps[-1].status = int(rest)
        elif mark != "#" and scenario.steps:
            scenario.steps[-1].metadata.append(line)
    assert set(scenario.ways) <= WAYS and {noun for noun, _ in scenario.expected} <= NOUNS, path
    return scenario


def body_of(step: Step, ways: dict[str, str]) -> tuple[str, bytes]:
    offer = b""
    if step.method != "BYE" and step.words:
        labels = [word.split(":") for word in step.words]
        offer = sdp(*(f"{label or '-'} {direction}" for label, direction in labels)).replace(b"a=label:-\r\n", b"")
    metadata = "\n".join(step.metadata).encode()
    if metadata and "bom" in ways:
        metadata = b"\xef\xbb\xbf" + metadata
    if not metadata:
        return ("application/sdp", offer) if offer else ("", b"")
    kind, body = ways.get("metadata-type", "application/rs-metadata+xml"), metadata
    if offer:
        kind, body = multipart(offer, metadata, ways.get("boundary", "b1"))
        body = body.replace(
            b"application/rs-metadata+xml", ways.get("metadata-type", "application/rs-metadata+xml").encode()
        )
    if "tight" in ways:
        body = body.replace(b"Content-Type: ", b"Content-Type:")
    return kind, body.replace(b"\r\n", b"\n") if "bare-lf" in ways else body


def message_of(step: Step, scenario: Scenario, phone: Phone, cseq: int, tag: str) -> bytes:
    kind, body = body_of(step, scenario.ways)
    reason = (f"Reason: {' '.join(step.words)}",) if step.method == "BYE" and step.words else ()
    extra = (*reason, *step.headers)
    message = request(step.method, phone, cseq=cseq, to_tag=tag, content_type=kind, body=body, extra=extra)
    for name in ("From", "To"):  # a header of the scenario's stands instead of the usual one
        own = next((one for one in step.headers if one.startswith(f"{name}:")), "")
        if own:
            message = message.replace(f"{own}\r\n".encode(), b"")
            tagged = own + (";tag=from1" if name == "From" else f";tag={tag}" if tag else "")
            message = re.sub(
                rf"^{name}: .*?\r\n".encode(), f"{tagged}\r\n".encode(), message, count=1, flags=re.MULTILINE
            )
    if "contact" in scenario.ways:
        message = message.replace(b";+sip.src", scenario.ways["contact"].encode())
    if "length" in scenario.ways and body:
        said = len(body) + int(scenario.ways["length"])
        message = message.replace(f"Content-Length: {len(body)}\r\n".encode(), f"Content-Length: {said}\r\n".encode())
    return message


async def play(scenario: Scenario, data_dir: Path) -> tuple[CapturedCall, list[tuple[datetime, datetime]]]:
    """The call as it is known in the end, and from when to when each request went on."""
    times, tag = [], ""
    async with bench(data_dir) as b:
        with Phone(b.address, scenario.ways.get("transport", "udp")) as phone:
            for cseq, step in enumerate(scenario.steps, start=1):
                began = datetime.now(UTC)
                answer = await phone.ask(message_of(step, scenario, phone, cseq, tag))
                times.append((began, datetime.now(UTC)))
                assert status(answer) == step.status, (step, answer)
                tag = tag or to_tag(answer)
                if step.method == "INVITE" and step.acknowledged:
                    ack = request("ACK", phone, cseq=cseq, to_tag=tag, branch=f"z9hG4bKack{cseq}")
                    await phone.send(ack)
        [call] = await b.ended()
    return call, times


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
async def test_scenario(path: Path, tmp_path: Path) -> None:
    scenario = read_scenario(path)
    assert scenario.steps and scenario.expected
    call, times = await play(scenario, tmp_path)
    parties = [f"{p.position} {p.channel} {p.value} {p.name}".strip() for p in call.parties]
    assert parties == scenario.all("party")
    assert call.disposition.value == scenario.one("disposition")
    assert [f"{s['label']}:{s['channel']}" for s in call.details["streams"]] == (scenario.one("streams") or "").split()
    assert all(any(flag in found for found in call.flags) for flag in scenario.all("flag")), call.flags
    assert scenario.one("flags") != "none" or not call.flags, call.flags
    assert call.ended and times[-1][0] <= call.ended <= times[-1][1]
    assert times[0][0] <= call.started <= times[0][1]
    if answered := scenario.one("answered"):
        began, done = times[int(answered) - 1]
        assert call.answered and began <= call.answered <= done
    assert scenario.one("key") in (None, call.key)
    assert scenario.one("conversation") in (None, call.conversation_key)
    for value in scenario.all("detail"):
        name, _, said = value.partition(" ")
        assert str(call.details.get(name)) == said, call.details
    check_times(call, scenario, times)


def check_times(call: CapturedCall, scenario: Scenario, times: list[tuple[datetime, datetime]]) -> None:
    """Who joined and left when; nobody else did."""
    for noun in ("joined", "left"):
        told = {int(number): when for number, when in (value.split() for value in scenario.all(noun))}
        for at, party in enumerate(call.parties):
            found = getattr(party, noun)
            if at not in told:
                assert found is None or noun == "joined", (at, noun, found)
            elif told[at].isdigit():
                began, done = times[int(told[at]) - 1]
                assert found and began <= found <= done, (at, noun, found)
            else:
                assert found and found.isoformat() == told[at], (at, noun, found)


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 25
