"""Offers of encrypted sound: the keys that can be used are taken, answered, journalled, and told to nobody else."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.sip.calls import captured_call, stream_plans
from agent.sip.journal import STREAM, Fact, read_journal
from agent.sip.sdp import only_encrypted, read_offer
from agent.sound.srtp import SUITES
from tests.unit.sip_peers import Phone, bench, request, sdp, status, to_tag

KEY = base64.b64encode(bytes(range(30))).decode()
OTHER = base64.b64encode(bytes(range(30, 60))).decode()


def offer(*lines: str, protocol: str = "RTP/SAVP") -> bytes:
    return sdp("1 sendonly").replace(b"RTP/AVP", protocol.encode()) + "\r\n".join([*lines, ""]).encode()


@pytest.mark.parametrize(
    ("line", "mki_size"),
    [
        (f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}", 0),
        (f"a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:{KEY}|2^20|1:4", 4),
        (f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20 WSH=64", 0),
        (f"a=crypto:1 AEAD_AES_256_GCM inline:{base64.b64encode(bytes(44)).decode()}", 0),
    ],
)
def test_keys_that_can_be_used(line: str, mki_size: int) -> None:
    (media,) = read_offer(offer(line))
    assert media.usable and not only_encrypted([media])
    (crypto,) = media.crypto
    assert (crypto.tag, crypto.mki_size) == (1, mki_size)
    assert crypto.key not in repr(media)


@pytest.mark.parametrize(
    "line",
    [
        f"a=crypto:1 F8_128_HMAC_SHA1_80 inline:{KEY}",
        f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP",
        f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=4",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2hvcnQ=",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:",
        f"a=crypto:x AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        "a=fingerprint:sha-256 00:11",
    ],
)
def test_keys_that_cannot(line: str) -> None:
    (media,) = read_offer(offer(line))
    assert not media.crypto and not media.usable and only_encrypted([media])


async def test_an_encrypted_call_is_answered_with_the_suite_taken(tmp_path: Path) -> None:
    body = offer(
        f"a=crypto:1 F8_128_HMAC_SHA1_80 inline:{KEY}",
        f"a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:{KEY}",
        f"a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{OTHER}",
    )
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            answer = await phone.ask(request("INVITE", phone, content_type="application/sdp", body=body))
            assert status(answer) == 200
            (line,) = [line for line in answer.split(b"\r\n") if line.startswith(b"a=crypto:")]
            tag, suite, key = line.removeprefix(b"a=crypto:").split(b" ")
            assert (tag, suite) == (b"2", b"AES_CM_128_HMAC_SHA1_32")
            ours = base64.b64decode(key.removeprefix(b"inline:"))
            assert len(ours) == SUITES[suite.decode()].key_size and ours != bytes(range(30))
            assert b"RTP/SAVP " in answer
            await phone.ask(request("BYE", phone, cseq=2, to_tag=to_tag(answer)))
            (call,) = await b.ended()
    (folder,) = (tmp_path / "captures").iterdir()
    (plan,) = stream_plans(read_journal(folder))
    assert plan.crypto == (("AES_CM_128_HMAC_SHA1_80", OTHER, 0), ("AES_CM_128_HMAC_SHA1_32", KEY, 0))
    told = json.dumps(dict(call.details), default=str) + repr(call)
    assert KEY not in told and OTHER not in told
    assert call.details["streams"][0]["crypto"] == ["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"]


def test_damaged_keys_in_a_journal_break_nothing() -> None:
    damaged: tuple[object, ...] = (None, "x", [1], [{"suite": 1, "key": None, "mki_size": "4"}], {"suite": "x"})
    facts = [
        Fact(at=datetime.now(UTC), kind=STREAM, data={"index": 0, "active": True, "crypto": one}) for one in damaged
    ]
    assert captured_call(facts, "folder").details["streams"]
