"""Mutated SIP requests: what real clients send, with hypothesis deciding how it is broken."""

from __future__ import annotations

import re
from collections.abc import Callable

from hypothesis import strategies as st

from tests.unit.sip_peers import DATA, SCENARIOS, multipart, sdp

OPENSIPS = (DATA / "siprec" / "opensips-4.1-rtpengine-invite.sip").read_bytes().removesuffix(b"\n")
OPENSIPS = OPENSIPS.replace(b";branch", b";rport;branch")
# What parsers stumble over: limits, half-open things, other encodings, other people's syntax
TOKENS = [
    *(
        b"",
        b"\0",
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b'"',
        b"<",
        b">",
        b";",
        b",",
        b"=",
        b"%",
        b"%00",
        b"\xff\xfe",
    ),
    *(b"\xef\xbb\xbf", b"-1", b"0", b"65536", b"4294967296", b"99999999999999999999", b"1e9", b"NaN", b"a" * 300),
    *(b"--b1--", b"--b1", b"m=audio", b"m=audio 0 RTP/AVP", b"a=label:", b"a=crypto:1 X inline:", b"c=IN IP6 ::1"),
    *(
        b"c=IN IP4 0.0.0.0",
        b"a=rtpmap:999 X",
        b"v=0",
        b"<?xml",
        b"<!DOCTYPE x>",
        b"<![CDATA[",
        b"<!--",
        b"&#0;",
        b"&amp",
    ),
    *(b"</recording>", b"<recording>", b"<session/>", b"<participant", b' participant_id=""', b"xmlns:x=", b"x:"),
    *(
        b"Content-Length: 0\r\n",
        b"Via: ",
        b"Require: x\r\n",
        b"Session-Expires: 90;refresher=uas\r\n",
        b"Replaces: a\r\n",
    ),
    *(b";tag=", b"rport", b"received=", b"branch=z9hG4bK", "Пётр".encode(), "\u202e\u0000".encode(), b"\xd0"),
]


def metadata_documents() -> list[bytes]:
    """Every vendor's metadata of the scenarios."""
    found = []
    for path in sorted(SCENARIOS.glob("*.txt")):
        lines = [line for line in path.read_text().splitlines() if line.lstrip().startswith("<")]
        if lines:
            found.append("\n".join(lines).encode())
    return found


def seeds() -> list[bytes]:
    """Whole INVITEs: the one recorded from OpenSIPS, and one with the metadata of each scenario."""
    found = [OPENSIPS]
    head = OPENSIPS.partition(b"\r\n\r\n")[0]
    for document in metadata_documents():
        kind, body = multipart(sdp("1 sendonly", "2 sendonly"), document)
        lines = re.sub(rb"Content-Type: .*", b"Content-Type: " + kind.encode(), head)
        lines = re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(body), lines)
        found.append(lines + b"\r\n\r\n" + body)
    return found


Mutation = Callable[[bytes], bytes]
_place = st.floats(0, 1, allow_nan=False)


def _at(data: bytes, place: float) -> int:
    return int(place * len(data))


def _insert(place: float, piece: bytes) -> Mutation:
    return lambda data: data[: _at(data, place)] + piece + data[_at(data, place) :]


def _overwrite(place: float, piece: bytes) -> Mutation:
    return lambda data: data[: _at(data, place)] + piece + data[_at(data, place) + len(piece) :]


def _delete(place: float, size: int) -> Mutation:
    return lambda data: data[: _at(data, place)] + data[_at(data, place) + size :]


def _repeat(place: float, size: int, times: int) -> Mutation:
    def repeat(data: bytes) -> bytes:
        at = _at(data, place)
        return data[:at] + data[at : at + size] * times + data[at + size :]

    return repeat


def _cut(place: float) -> Mutation:
    return lambda data: data[: _at(data, place)]


def _flip(place: float, bit: int) -> Mutation:
    def flip(data: bytes) -> bytes:
        at = min(_at(data, place), len(data) - 1)
        return data if at < 0 else data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]

    return flip


def _line(place: float, other: float, copy: bool) -> Mutation:
    """A line goes, or comes once more, somewhere else."""

    def move(data: bytes) -> bytes:
        lines = data.split(b"\n")
        line = lines[min(int(place * len(lines)), len(lines) - 1)]
        if not copy:
            lines.remove(line)
        lines.insert(int(other * len(lines)), line)
        return b"\n".join(lines)

    return move


def _number(place: float, number: bytes) -> Mutation:
    """A number somewhere becomes another one."""

    def change(data: bytes) -> bytes:
        found = list(re.finditer(rb"\d+", data))
        if not found:
            return data
        one = found[min(int(place * len(found)), len(found) - 1)]
        return data[: one.start()] + number + data[one.end() :]

    return change


_pieces = st.one_of(st.sampled_from(TOKENS), st.binary(max_size=12))
mutation: st.SearchStrategy[Mutation] = st.one_of(
    st.builds(_insert, _place, _pieces),
    st.builds(_overwrite, _place, _pieces),
    st.builds(_delete, _place, st.integers(1, 200)),
    st.builds(_repeat, _place, st.integers(1, 120), st.integers(2, 40)),
    st.builds(_cut, _place),
    st.builds(_flip, _place, st.integers(0, 7)),
    st.builds(_line, _place, _place, st.booleans()),
    st.builds(_number, _place, st.sampled_from([b"0", b"1", b"-1", b"65535", b"65536", b"2147483648", b"9" * 30])),
)


@st.composite
def mutated(draw: st.DrawFn, documents: list[bytes]) -> bytes:
    """One of the documents with up to four things wrong with it."""
    data = draw(st.sampled_from(documents))
    for change in draw(st.lists(mutation, min_size=1, max_size=4)):
        data = change(data)
    return data
