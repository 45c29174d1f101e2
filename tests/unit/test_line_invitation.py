"""What the INVITE of a call says to a line, from whom it may come, and what is made of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sip.lines.invitation import is_trusted, read_invitation

ACCOUNT: dict[str, Any] = {
    "user": "901",
    "extension": "101",
    "registrar": "pbx.example.com:5070",
    "transport": "udp",
}


def invite(
    *headers: str, caller: str = "<sip:+74950000001@example.com>", to: str = "<sip:901@example.com>", uri: str = "901"
) -> bytes:
    lines = [
        f"INVITE sip:{uri}@192.0.2.1:40000;ob SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK1",
        f"From: {caller};tag=a",
        f"To: {to}",
        "Call-ID: 1@example.com",
        "CSeq: 1 INVITE",
        *headers,
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def test_a_client_calls() -> None:
    found = read_invitation(invite("User-Agent: pbx", caller='"Анна" <sip:+74950000001@example.com>'), ACCOUNT)
    assert (found.caller, found.caller_name, found.callee) == ("+74950000001", "Анна", "101")
    assert found.target == "sip:101@pbx.example.com:5070" and not found.is_outbound and not found.refusal
    assert found.asserted == "+74950000001" and found.shown == "Анна +74950000001"
    assert (found.call_id, found.user_agent) == ("1@example.com", "pbx")


def test_the_number_that_was_dialled_is_kept() -> None:
    assert read_invitation(invite(to="<sip:+74950000099@example.com>"), ACCOUNT).dialled == "+74950000099"
    assert read_invitation(invite("Diversion: <sip:+74950000098@example.com>"), ACCOUNT).diverted == ("+74950000098",)


@pytest.mark.parametrize(
    "caller", ['"Anonymous" <sip:anonymous@anonymous.invalid>', "<sip:Unknown@example.com>", "<sip:example.com>"]
)
def test_whoever_hides_his_number_is_known_to_the_network_and_not_shown(caller: str) -> None:
    raw = invite("P-Asserted-Identity: <sip:+74950000001@example.com>", "Privacy: id", caller=caller)
    found = read_invitation(raw, ACCOUNT)
    assert (found.caller, found.shown, found.asserted) == ("+74950000001", "", "")


def test_the_manager_dials_out() -> None:
    for raw in (
        invite("X-Cardline-Dial: +74950000002", caller="<sip:101@example.com>"),
        invite(caller="<sip:101@example.com>", uri="+74950000002"),
        invite(caller="<sip:101@example.com>", to="<sip:+74950000002@example.com>"),
    ):
        found = read_invitation(raw, ACCOUNT)
        assert found.is_outbound and (found.caller, found.callee) == ("101", "+74950000002")
        assert found.target == "sip:+74950000002@pbx.example.com:5070" and found.shown == ""
    star = read_invitation(invite("X-Cardline-Dial: *21#", caller="<sip:101@example.com>"), ACCOUNT)
    assert star.target == "sip:*21%23@pbx.example.com:5070"


def test_what_is_refused() -> None:
    assert read_invitation(invite(caller="<sip:101@example.com>"), ACCOUNT).refusal == 404
    evil = invite("X-Cardline-Dial: 1;transport=tls", caller="<sip:101@example.com>")
    assert read_invitation(evil, ACCOUNT).refusal == 404
    assert read_invitation(invite(caller="<sip:901@example.com>"), ACCOUNT).refusal == 482
    assert read_invitation(b"garbage", ACCOUNT).refusal == 400
    assert read_invitation(b"SIP/2.0 200 OK\r\n\r\n", ACCOUNT).refusal == 400


def test_a_client_cannot_dial_at_our_cost() -> None:
    found = read_invitation(invite("X-Cardline-Dial: +74950000002"), ACCOUNT)
    assert found.callee == "101" and not found.is_outbound


def test_a_name_cannot_break_out_of_its_quotes() -> None:
    found = read_invitation(invite(caller='"a\\" <sip:x@y>;z=" <sip:+74950000001@example.com>'), ACCOUNT)
    assert not set(found.shown) & set('"\\<>')


def test_targets() -> None:
    extension = {**ACCOUNT, "extension": "sip:anna@192.0.2.7", "transport": "tcp"}
    assert read_invitation(invite(), extension).target == "sip:anna@192.0.2.7;transport=tcp"


def test_where_calls_may_come_from() -> None:
    sources = ["192.0.2.9", "198.51.100.0/24", "2001:db8::/32"]
    assert is_trusted("192.0.2.9:5060", sources) and is_trusted("198.51.100.7:40000", sources)
    assert is_trusted("[2001:db8::1]:5060", sources)
    for stranger in ("192.0.2.8:5060", "203.0.113.1:5060", "", "nonsense", "192.0.2.9"):
        assert not is_trusted(stranger, sources)
    assert not is_trusted("192.0.2.9:5060", [])


@given(st.binary(max_size=400))
def test_no_bytes_end_it(raw: bytes) -> None:
    read_invitation(raw, ACCOUNT)
    read_invitation(invite().replace(b"example.com", raw), ACCOUNT)
