"""Reading requests, cutting streams, bodies, SDP and metadata: values in, values out; and nothing that breaks them."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.quiet import Quiet
from agent.sip.body import read_body
from agent.sip.calls import captured_call, conversation_of
from agent.sip.framing import MAX_BODY, MAX_HEAD, PING, Framer, StreamBroken
from agent.sip.identities import number_of
from agent.sip.journal import OPENED, STREAM, Fact
from agent.sip.message import MalformedRequest, Request, build_response, read_request, response_target
from agent.sip.metadata import MAX_BYTES, MetadataUnreadable, merge, read_metadata, read_time
from agent.sip.sdp import build_answer, read_offer
from tests.unit.sip_peers import DATA, multipart, sdp

OPENSIPS = (DATA / "siprec" / "opensips-4.1-rtpengine-invite.sip").read_bytes().removesuffix(b"\n")


def opensips() -> Request:
    request = read_request(OPENSIPS)
    assert request
    return request


# RFC 4475: 3.1.1 valid, if odd; 3.1.2 and 3.3 broken (names of its test messages)
VALID = ("wsinv", "intmeth", "esc01", "escnull", "esc02", "lwsdisp", "longreq", "dblreq", "semiuri", "transports")
BROKEN = ("ncl", "scalar02", "ltgtruri", "lwsruri", "badvers", "mismatch01", "multi01", "insuf")


@pytest.mark.parametrize("name", VALID)
def test_odd_but_valid_requests_are_read(name: str) -> None:
    request = read_request((DATA / "rfc4475" / f"{name}.dat").read_bytes())
    assert request and request.call_id


@pytest.mark.parametrize("name", BROKEN)
def test_broken_requests_are_called_broken_and_can_be_answered(name: str) -> None:
    with pytest.raises(MalformedRequest) as error:
        read_request((DATA / "rfc4475" / f"{name}.dat").read_bytes())
    assert error.value.answerable and error.value.status == (505 if name == "badvers" else 400)


def test_everything_a_response_echoes_survives_byte_by_byte() -> None:
    raw = (
        b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5080 ;branch=z9hG4bK\xff;rport\r\n"
        b"v: SIP/2.0/TCP x;branch=2\r\n"
        b'f: "\xd0\x90\xfe" <sip:x@y>;tag=abc\r\nt: <sip:a@b>\r\ni: \x80id\r\nCSeq: 7 INVITE\r\n\r\n'
    )
    request = read_request(raw)
    assert request and request.from_tag == "abc" and request.cseq == 7
    answer = build_response(request, 200, to_tag="t1", source=("192.0.2.10", 6000))
    assert b"Via: SIP/2.0/UDP 192.0.2.9:5080 ;branch=z9hG4bK\xff;received=192.0.2.10;rport=6000\r\n" in answer
    assert b"\r\nVia: SIP/2.0/TCP x;branch=2\r\n" in answer
    assert b'From: "\xd0\x90\xfe" <sip:x@y>;tag=abc\r\n' in answer and b"Call-ID: \x80id\r\n" in answer
    assert b"To: <sip:a@b>;tag=t1\r\n" in answer
    assert response_target(request, ("192.0.2.10", 6000)) == ("192.0.2.10", 6000)


def test_a_multipart_body_ignores_its_content_length_and_others_do_not() -> None:
    short = OPENSIPS.replace(b"Content-Length: 2350", b"Content-Length: 23")
    request = read_request(short)
    assert request and request.body == opensips().body
    twice = read_request((DATA / "rfc4475" / "dblreq.dat").read_bytes())
    assert twice and twice.method == "REGISTER" and not twice.body


@given(st.lists(st.integers(1, 700), max_size=12))
@settings(max_examples=60, deadline=None)
def test_a_stream_cut_anywhere_gives_the_same_messages(cuts: list[int]) -> None:
    options = b"OPTIONS sip:a@b SIP/2.0\r\nl: 0\r\n\r\n"
    stream = PING + OPENSIPS + b"\r\n" + options + PING + OPENSIPS
    framer, found, at = Framer(), [], 0
    for cut in [*cuts, len(stream)]:
        found += framer.feed(stream[at : at + cut])
        at += cut
    messages = [message.strip() for message in found if message != PING]
    assert messages == [OPENSIPS.strip(), options.strip(), OPENSIPS.strip()]


@pytest.mark.parametrize("declared", [0, 100, 2349, 2351, 2400])
def test_a_wrong_content_length_does_not_lose_the_next_message(declared: int) -> None:
    wrong = OPENSIPS.replace(b"Content-Length: 2350", b"Content-Length: %d" % declared)
    framer = Framer()
    found = framer.feed(wrong)
    if declared > 2350:
        assert not found
        rest = framer.rest()
        assert rest and rest.endswith(b"--OSS-unique-boundary-42--")
        found = [rest]
    assert len(found) == 1
    assert read_body("multipart/mixed;boundary=OSS-unique-boundary-42", found[0].split(b"\r\n\r\n", 1)[1]).metadata
    assert framer.feed(OPENSIPS)[-1].strip() == OPENSIPS.strip()


def test_a_stream_that_cannot_be_honest_is_broken_off() -> None:
    for data in (b"x" * (MAX_HEAD + 1), b"INVITE a SIP/2.0\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1)):
        with pytest.raises(StreamBroken):
            Framer().feed(data)


@pytest.mark.parametrize(
    "change", ["none", "bare-lf", "tight", "no-plus-xml", "no-boundary", "preamble", "quoted", "bom"]
)
def test_bodies_as_real_clients_write_them(change: str) -> None:
    kind, body = multipart(sdp("1 sendonly"), b"<recording/>")
    if change == "bare-lf":
        body = body.replace(b"\r\n", b"\n")
    elif change == "tight":
        body = body.replace(b"Content-Type: ", b"Content-type:")
    elif change == "no-plus-xml":
        body = body.replace(b"+xml", b"")
    elif change == "no-boundary":
        kind = "multipart/mixed"
    elif change == "preamble":
        body = b"This is MIME\r\n" + body + b"epilogue"
    elif change == "quoted":
        kind = 'Multipart/Mixed ; Boundary = "b1"'
    elif change == "bom":
        body = body.replace(b"<recording", b"\xef\xbb\xbf<recording")
    found = read_body(kind, body)
    assert found.sdp and found.sdp.startswith(b"v=0") and len(read_offer(found.sdp)) == 1
    assert found.metadata and read_metadata(found.metadata).complete


def test_the_answer_takes_all_payload_types_and_labels_in_order() -> None:
    offer = read_offer(
        b"v=0\no=- 1 1 IN IP4 0.0.0.0\nc=IN IP4 192.0.2.1\na=sendonly\nm=audio 4000 RTP/AVP 18 0 96\na=label:b\n"
        b"a=rtpmap:96 opus/48000/2\na=fmtp:96 useinbandfec=1\na=fmtp:18 annexb=no\n"
        b"m=video 4002 RTP/AVP 97\na=label:v\nm=audio 0 RTP/AVP 8\na=label:off\nm=audio nonsense\n"
        b"m=audio 4004/2 RTP/AVP 8\na=label:a\nc=IN IP4 0.0.0.0\n"
    )
    assert [(media.label, media.usable, media.active) for media in offer] == [
        ("b", True, True),
        ("v", False, False),
        ("off", False, False),
        ("a", True, False),
    ]
    answer = build_answer(offer, [7000, 0, 0, 7002], address="2001:db8::1", session_id=1, version=2).decode()
    assert answer == (
        "v=0\r\no=cardline 1 2 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\nt=0 0\r\n"
        "m=audio 7000 RTP/AVP 18 0 96\r\na=label:b\r\na=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\n"
        "a=rtpmap:0 PCMU/8000\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\na=recvonly\r\n"
        "m=video 0 RTP/AVP 97\r\na=label:v\r\nm=audio 0 RTP/AVP 8\r\na=label:off\r\n"
        "m=audio 7002 RTP/AVP 8\r\na=label:a\r\na=rtpmap:8 PCMA/8000\r\na=inactive\r\n"
    )


def test_the_metadata_of_a_live_opensips() -> None:
    found = read_metadata(read_body(opensips().header("content-type"), opensips().body).metadata or b"")
    assert [number_of(p.aor) for p in found.participants] == ["79161234567", "101"]
    labels = {stream.id: stream.label for stream in found.streams}
    assert [[labels[stream] for stream in p.sends] for p in found.participants] == [["1"], ["0"]]
    assert found.groups == ("sales",) and found.sessions[0].group == "sales"
    assert found.participants[0].joined == read_time("2026-11-22T03:23:49+0000")


def test_a_partial_update_keeps_what_it_does_not_name() -> None:
    known = read_metadata(
        b'<recording><session session_id="s"/><participant participant_id="a"><nameID aor="sip:1@x"/></participant>'
        b"</recording>"
    )
    update = read_metadata(
        b'<r:recording xmlns:r="u"><r:datamode>partial</r:datamode><r:participant participant_id="a">'
        b"<r:nameID><r:name>Anna</r:name></r:nameID></r:participant></r:recording>"
    )
    merged = merge(known, update)
    assert not update.complete and [(p.aor, p.name) for p in merged.participants] == [("sip:1@x", "Anna")]
    assert merged.sessions == known.sessions


@pytest.mark.parametrize(
    ("aor", "number"),
    [
        ("sip:+74950000001@192.0.2.1:5060;user=phone", "+74950000001"),
        ("tel:+7-495-000-00-01;ext=12", "+7-495-000-00-01;ext=12"),
        ("<sips:%2B7495@x>", "+7495"),
        ("sip:pbx.example.com:5060", "pbx.example.com"),
        ("101", "101"),
        ("sip:101;phone-context=x@pbx", "101"),
        ("", ""),
    ],
)
def test_numbers(aor: str, number: str) -> None:
    assert number_of(aor) == number


@pytest.mark.parametrize(
    "xml",
    [
        b"",
        b"not xml",
        b"<recording>" * 100,
        b"<a>" * 40 + b"</a>" * 40,
        b"<recording>" + b" " * MAX_BYTES + b"</recording>",
        b'<?xml version="1.0" encoding="utf-7"?><recording/>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><recording/>',
        '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "x">]><recording>&a;</recording>'.encode("utf-16"),
    ],
)
def test_hostile_metadata_is_refused(xml: bytes) -> None:
    with pytest.raises(MetadataUnreadable):
        read_metadata(xml)


def test_quiet_counts_what_it_keeps_back() -> None:
    now = [0.0]
    quiet = Quiet(60, clock=lambda: now[0])
    assert [quiet.lets("a"), quiet.lets("a"), quiet.lets("b"), quiet.lets("a")] == [0, None, 0, None]
    now[0] = 61
    assert quiet.lets("a") == 2
    for number in range(5000):
        quiet.lets(str(number))
    assert len(quiet._last) <= 1025


def mutated(data: bytes) -> st.SearchStrategy[bytes]:
    """``data`` with pieces cut out, repeated, or replaced by noise."""

    @st.composite
    def change(draw: st.DrawFn) -> bytes:
        result = bytearray(data)
        for _ in range(draw(st.integers(1, 5))):
            at = draw(st.integers(0, len(result)))
            to = min(len(result), at + draw(st.sampled_from([0, 1, 2, 5, 40, 300])))
            noise = st.sampled_from(
                [b"", b"\r\n", b"\n\n", b"\0", b"\xff\xfe", b"-1", b"9" * 20, b":", b"<", b"\xc2\x85"]
            )
            result[at:to] = draw(noise | st.binary(max_size=12) | st.just(bytes(result[at:to] * 2)))
        return bytes(result)

    return change()


@given(mutated(OPENSIPS))
@settings(max_examples=300, deadline=None)
def test_a_mutated_invite_ends_in_a_call_or_a_named_error(data: bytes) -> None:
    for message in (data, *_framed(data)):
        try:
            request = read_request(message)
        except MalformedRequest as error:
            if error.answerable:
                build_response(error.answerable, error.status, to_tag="t", source=("192.0.2.1", 5060))
            continue
        if request is None:
            continue
        answer = build_response(request, 200, to_tag="t", source=("192.0.2.1", 5060), body=b"x")
        assert answer.startswith(b"SIP/2.0 200 OK\r\n") and answer.endswith(b"\r\n\r\nx")
        body = read_body(request.header("content-type"), request.body)
        offer = read_offer(body.sdp or b"")
        reread = read_offer(build_answer(offer, [4000] * len(offer), address="192.0.2.1", session_id=1, version=1))
        assert [media.label for media in reread] == [media.label for media in offer]
        at = read_time("2026-11-22T10:00:00Z")
        assert at
        call = captured_call([Fact(at=at, kind=OPENED, data={"raw": _base64(request.raw), "key": "k"})], "c")
        unnamed = [Fact(at=at, kind=OPENED, data={"raw": _base64(request.raw)})]
        assert captured_call(unnamed, "c").key and conversation_of(unnamed)
        assert call.key == "k"


@given(mutated(sdp("1 sendonly", "2 inactive")))
@settings(max_examples=200, deadline=None)
def test_a_mutated_offer_is_answered_line_by_line(data: bytes) -> None:
    offer = read_offer(data)
    answer = build_answer(offer, [4000] * len(offer), address="192.0.2.1", session_id=1, version=1)
    assert answer.count(b"\r\nm=") == len(offer) and b"\n\n" not in answer


@given(mutated(read_body(opensips().header("content-type"), opensips().body).metadata or b""))
@settings(max_examples=200, deadline=None)
def test_mutated_metadata_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(MetadataUnreadable):
        merge(read_metadata(data), read_metadata(b"<recording/>"))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([OPENED, STREAM, "closed", "odd"]),
            st.dictionaries(
                st.sampled_from(["raw", "index", "label", "codecs", "active", "reason", "key"]),
                st.none()
                | st.text(max_size=8)
                | st.integers(-1, 3)
                | st.booleans()
                | st.lists(st.integers(), max_size=2),
            ),
        )
    )
)
@settings(max_examples=200, deadline=None)
def test_any_journal_gives_a_call(lines: list[tuple[str, dict[str, object]]]) -> None:
    at = read_time("2026-11-22T10:00:00Z")
    assert at
    call = captured_call([Fact(at=at, kind=kind, data=data) for kind, data in lines], "folder")
    assert call.capture_id == "folder" and call.key


def _framed(data: bytes) -> list[bytes]:
    try:
        return Framer().feed(data)
    except StreamBroken:
        return []


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
