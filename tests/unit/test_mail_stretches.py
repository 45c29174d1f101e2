"""Mails read in stretches become, to the letter, what the standard library makes of them line by line."""

from __future__ import annotations

from email.errors import MessageError
from email.feedparser import BytesFeedParser
from email.message import Message
from email.policy import Policy
from typing import Any

import pytest

from agent.mail.parts import POLICY, children, read_message
from agent.mail.stretches import StretchParser
from tests.unit.mail_hostile import SEEDS, hostile

_FAULTS = (MessageError, ValueError, LookupError, TypeError, AttributeError, RecursionError, AssertionError)
_B = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
_STATUS = b"Content-Type: message/delivery-status\n\nA: 1\nB: 2\n\nC: 3\n\nnot a header\n--x\n\nD: 4\n"
CASES = (
    b"",
    b"\n",
    b"no header at all\r\n--\r\n",
    b"A: 1\r\nFrom me\r\n\r\nFrom line\r\n",
    b"A: 1\r\nFrom me\r\nno header\r\n--b\r\n",
    b"From me\r\nA: 1\r\n\r\n--\r\n-- \r\n---\r\nx",
    b" folded\r\nA: 1\r\n : x\r\n: y\r\n\r\nbody",
    _B,
    _B + b"--b--",
    _B + b"--b--\r\n",
    _B + b"--b--\r\n\r\nafter",
    _B
    + b"before\r\n\r\nit\r\n--b\r\n--b\r\n--b\r\nA: 1\r\n\r\none\r\n--c\r\n--b\r\n\r\ntwo\r\n--b--\r\nafter\r\n--b\r\n",
    _B + b"--b\r\n\r\nends never\r\n",
    _B + b"--b\rA: 1\r\rone\r--b\r\rtwo\r\n--b--\r",
    _B + b"--b\n\n\n--b\n\n--b \t\n--bb\n--b--x\n--b--",
    _B + b"--b\r\n" + _B.replace(b"=b", b"=c") + b"--c\r\n\r\ninner\r\n\r\n--b\r\n\r\nouter\r\n--c--\r\n--b--\r\n",
    _B + b"--b\r\n" + _STATUS + b"--b\r\n" + _STATUS + b"--b--\nx",
    _STATUS,
    _STATUS + b"\n\n\n",
    b"Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\nwords\n--b\nA: 1\n\n\nSubject: y\n--b--\n",
    b"Content-Type: message/rfc822\n\n" * 40 + b"A: 1\n\nx\n--\n",
    b"Content-Type: multipart/mixed\n\n--b\n\nno boundary is named\n",
    b'Content-Type: multipart/mixed; boundary=""\n\n--\n\nan empty one\n----\n',
    _B + b"x\r\n" * 3 + b"-\r\n-\n-b\r\n--",
    _B + (b"--b\r\n\r\n" + b"x" * 90_000 + b"\r\n") * 9 + b"--b--",
)


class _Made:
    """Messages in the order they were made."""

    def __init__(self) -> None:
        self.all: list[Message] = []

    def __call__(self, policy: Policy | None = None) -> Message:
        self.all.append(Message(policy=POLICY))
        return self.all[-1]


def _by_lines(raw: bytes) -> tuple[Any, str]:
    made = _Made()
    parser: BytesFeedParser[Message] = BytesFeedParser(_factory=made, policy=POLICY)
    made.all.clear()
    try:
        for start in range(0, len(raw), 1000):
            parser.feed(raw[start : start + 1000])
        return parser.close(), ""
    except _FAULTS as error:
        return made.all[0], type(error).__name__


def _by_stretches(raw: bytes) -> tuple[Any, str]:
    made = _Made()
    parser = StretchParser(raw, factory=made, policy=POLICY)
    made.all.clear()
    try:
        return parser.close(), ""
    except _FAULTS as error:
        return made.all[0], type(error).__name__


def _all_of(message: Any) -> Any:
    """Everything that the parser has noted."""
    content = message._payload
    return {
        "headers": message._headers,
        "unixfrom": message._unixfrom,
        "content": [_all_of(one) for one in content] if isinstance(content, list) else content,
        "around": (message.preamble, message.epilogue),
        "default": message._default_type,
        "defects": [(type(one).__name__, str(one)) for one in message.defects],
    }


def _check(raw: bytes) -> None:
    (one, fault), (other, other_fault) = _by_lines(raw), _by_stretches(raw)
    assert (_all_of(other), other_fault) == (_all_of(one), fault)


@pytest.mark.parametrize("at", range(len(CASES)))
def test_the_same_tree_as_line_by_line(at: int) -> None:
    _check(CASES[at])
    _check(CASES[at].replace(b"\r\n", b"\n"))
    _check(CASES[at].replace(b"\n", b"\r\n"))


def test_the_same_of_what_is_broken() -> None:
    for raw in SEEDS:
        _check(raw)
    for number in range(3000):
        _check(hostile(number))
        _check(CASES[number % len(CASES)][: number % 97] + hostile(number))


def test_many_lines_that_might_be_boundaries_take_no_longer_than_their_number() -> None:
    raw = _B + b"--b\n\n" + b"--\nx\n" * 100_000 + b"--b--\n"
    (part,) = children(read_message(raw)[0])
    assert len(str(part.get_payload())) == 5 * 100_000 - 1
