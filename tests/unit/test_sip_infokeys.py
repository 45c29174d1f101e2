"""Keys that a recording client tells by INFO: what is a key, what is a code, and that no digit is written anywhere."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.sip.infokeys import InfoKeys, key_of
from agent.sip.lines.linecalls import KeyRules
from agent.sip.message import Request, read_request
from tests.unit.sip_peers import Bench, Phone, bench, header, request, sdp, status, to_tag

CODES = {"*7": "pause", "*8": "resume"}
RELAY, PLAIN = "application/dtmf-relay", "application/dtmf"


def info(content_type: str, body: bytes, cseq: int = 2) -> Request:
    raw = (
        f"INFO sip:recorder@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK{cseq}\r\n"
        f"From: <sip:a@192.0.2.7>;tag=1\r\nTo: <sip:b@192.0.2.1>;tag=2\r\nCall-ID: c@192.0.2.7\r\nCSeq: {cseq} INFO\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    found = read_request(raw.encode() + body)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("content_type", "body", "key"),
    [
        (RELAY, b"Signal=5\r\nDuration=160\r\n", "5"),
        (RELAY, b"Signal= *\nDuration= 250", "*"),
        (f"{RELAY}; charset=utf-8", b"Duration=100\r\nsignal=#\r\n", "#"),
        (RELAY.upper(), b"Signal=10\r\n", "*"),
        (RELAY, b"Signal=11\r\n", "#"),
        (RELAY, b"Signal=d\r\n", "D"),
        (PLAIN, b"7", "7"),
        (PLAIN, b" 11\r\n", "#"),
        (PLAIN, b"", ""),
        (RELAY, b"", ""),
        (RELAY, b"Signal=16\r\n", ""),
        (RELAY, b"Signal=55\r\n", ""),
        (RELAY, b"Signal=\xd9\xa3\r\n", ""),  # a digit, and on no telephone
        (RELAY, b"Signal=555\r\n", ""),
        (PLAIN, b"4111111111111111", ""),
        (PLAIN, b"\xff" * 70_000, ""),
        (RELAY, b"x" * 100_000 + b"\r\nSignal=5\r\n", ""),
    ],
)
def test_what_is_a_key(content_type: str, body: bytes, key: str) -> None:
    assert key_of(info(content_type, body)) == key


def test_a_code_is_told_once_of_each_session_and_no_key_counts_twice_or_late() -> None:
    told: list[tuple[str, str]] = []
    keys = InfoKeys(KeyRules(codes=CODES, on_code=lambda capture, name, at: told.append((capture, name))))
    for capture_id, cseq, key in (("a", 5, b"*"), ("b", 5, b"7"), ("a", 5, b"*"), ("a", 6, b"7"), ("a", 4, b"8")):
        keys.take(capture_id, info(PLAIN, key, cseq))
    assert told == [("a", "pause")]
    for cseq, key in ((9, b"*"), (10, b"1"), (11, b"8"), (12, b"*"), (14, b"8")):
        keys.take("a", info(PLAIN, key, cseq))
    assert told == [("a", "pause"), ("a", "resume")]
    keys.forget("a")
    keys.take("a", info(PLAIN, b"*", 1))
    keys.take("a", info(PLAIN, b"7", 2))
    assert told[2:] == [("a", "pause")]


def test_a_session_without_an_end_is_forgotten_in_time() -> None:
    keys = InfoKeys(KeyRules(codes=CODES))
    for number in range(5000):
        keys.take(str(number), info(PLAIN, b"1"))
    assert len(keys._calls) == 4096


async def _begin(b: Bench, phone: Phone) -> str:
    first = await phone.ask(
        request("INVITE", phone, content_type="application/sdp", body=sdp("1 sendonly", "2 sendonly"))
    )
    assert "INFO" in header(first, "Allow")
    await phone.send(request("ACK", phone, to_tag=to_tag(first)))
    return to_tag(first)


async def test_codes_reach_the_desk_and_digits_stay_nowhere(tmp_path: Path) -> None:
    told: list[tuple[str, str, datetime]] = []
    rules = KeyRules(codes=CODES, on_code=lambda *what: told.append(what))
    async with bench(tmp_path, keys=rules) as b:
        with Phone(b.address) as phone:
            tag = await _begin(b, phone)
            before = datetime.now(UTC)
            for cseq, (kind, body) in enumerate(
                [(RELAY, b"Signal=*\r\nDuration=160\r\n"), (PLAIN, b"7"), (RELAY, b"Signal=3\r\n")], 2
            ):
                one = request("INFO", phone, cseq=cseq, to_tag=tag, content_type=kind, body=body)
                assert status(await phone.ask(one)) == 200
                assert status(await phone.ask(one)) == 200  # our answer got lost
            (capture_id, name, at), *more = told
            assert not more and name == "pause" and before <= at
            folder = tmp_path / "captures" / capture_id
            assert re.search(rb"Signal|dtmf|INFO ", (folder / "journal.jsonl").read_bytes()) is None
            await phone.ask(request("BYE", phone, cseq=9, to_tag=tag))


async def test_what_is_no_key_is_answered_as_the_rfc_says(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            tag = await _begin(b, phone)
            answers = [
                await phone.ask(
                    request("INFO", phone, cseq=number, to_tag=tag, content_type=kind, body=body, extra=extra)
                )
                for number, (kind, body, extra) in enumerate(
                    [
                        ("", b"", ()),
                        ("application/media_control+xml", b"<media_control/>", ()),
                        (RELAY, b"Signal=5", ("Info-Package: infoDtmf",)),
                        (RELAY, b"\0" * 2000, ()),
                    ],
                    2,
                )
            ]
            assert [status(one) for one in answers] == [200, 415, 469, 200]
            assert header(answers[1], "Accept") == f"{RELAY}, {PLAIN}"
            assert status(await phone.ask(request("INFO", phone, cseq=9, to_tag="other"))) == 481
            assert status(await phone.ask(request("INFO", phone, cseq=10))) == 481
            assert b.server.calls == 1 and b.server.failures == 0
            await phone.ask(request("BYE", phone, cseq=11, to_tag=tag))
