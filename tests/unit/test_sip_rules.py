"""The rules of SIP that keep a recording alive, or end it: timers, silence, goodbyes, glare, options, replacements."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.demo.siprec_client import PlayedCall, play_call
from agent.model import CapturedCall, Disposition
from agent.settings import SiprecSettings
from agent.sip.message import Request, read_request, read_response
from agent.sip.outgoing import address_of
from agent.sip.sessiontimer import SessionTimer, agreed_timer, asks_too_little, refreshed_timer, timer_headers
from tests.unit.sip_peers import (
    Bench,
    Phone,
    TlsPhone,
    bench,
    header,
    multipart,
    request,
    sdp,
    sdp_ports,
    status,
    to_tag,
    until,
)

AnyPhone = Phone | TlsPhone
SDP = "application/sdp"
SOUND = b"\xd5\x55" * 1600


async def begin(phone: AnyPhone, *, call_id: str = "call-1@client.example.com", extra: tuple[str, ...] = ()) -> str:
    """Establish a session with two streams; the server's tag."""
    body = sdp("1 sendonly", "2 sendonly")
    answer = await phone.ask(request("INVITE", phone, call_id=call_id, content_type=SDP, body=body, extra=extra))
    assert status(answer) == 200, answer
    await phone.send(request("ACK", phone, call_id=call_id, to_tag=to_tag(answer), branch="z9hG4bKack"))
    return to_tag(answer)


def answer_to(message: bytes, code: int = 200, extra: tuple[str, ...] = (), body: bytes = b"") -> bytes:
    """A client's answer to a request of the server."""
    kept = [line for line in message.split(b"\r\n\r\n")[0].split(b"\r\n") if line.split(b":")[0] in _ECHOED]
    lines = [f"SIP/2.0 {code} Whatever".encode(), *kept, *(line.encode() for line in extra)]
    return b"\r\n".join([*lines, f"Content-Length: {len(body)}".encode(), b"", b""]) + body


_ECHOED = (b"Via", b"From", b"To", b"Call-ID", b"CSeq")


async def next_request(phone: AnyPhone, method: str, timeout: float = 5.0) -> bytes:
    message = await phone.receive(timeout)
    assert message.startswith(method.encode() + b" "), message
    return message


def capture_folder(b: Bench) -> Path:
    return max((b.data_dir / "captures").iterdir(), key=lambda path: path.stat().st_mtime_ns)


def log_sound(b: Bench, at: float) -> None:
    """Make it look as if the last packet came at a time."""
    log = capture_folder(b) / "0.rtpdump"
    log.write_bytes(b"x")
    os.utime(log, (at, at))


def timed(value: str, *, supported: str = "timer", compact: bool = False) -> Request:
    name = "x" if compact else "Session-Expires"
    lines = [
        "INVITE sip:a@b SIP/2.0",
        "Via: SIP/2.0/UDP h;branch=z9hG4bK1",
        "From: <sip:a@b>;tag=1",
        "To: <sip:a@b>",
        "Call-ID: 1",
        "CSeq: 1 INVITE",
        f"Supported: {supported}",
        *([f"{name}: {value}"] if value else []),
    ]
    found = read_request("\r\n".join([*lines, "", ""]).encode())
    assert found
    return found


@pytest.mark.parametrize(
    ("value", "supported", "ours"),  # RFC 4028, table 2
    [
        ("1800", "timer", False),
        ("1800;refresher=uac", "timer", False),
        ("1800 ; refresher=UAS", "siprec, timer", True),
        ("1800", "siprec", True),
        ("1800;refresher=uac", "", False),
    ],
)
def test_who_refreshes(value: str, supported: str, ours: bool) -> None:
    invite = timed(value, supported=supported)
    timer = agreed_timer(invite)
    assert timer == SessionTimer(interval_s=1800, ours=ours)
    headers = timer_headers(invite, timer)
    assert headers[0] == ("Session-Expires", f"1800;refresher={'uas' if ours else 'uac'}")
    assert (("Require", "timer") in headers) is (not ours and "timer" in supported)


def test_intervals() -> None:
    assert agreed_timer(timed("")) is None and agreed_timer(timed("soon")) is None
    assert asks_too_little(timed("89")) and not asks_too_little(timed("90")) and not asks_too_little(timed("-1"))
    assert agreed_timer(timed("600", compact=True)) == SessionTimer(interval_s=600, ours=False)
    longest = agreed_timer(timed("999999999"))
    assert longest and longest.interval_s == 24 * 3600
    asked = SessionTimer(interval_s=600, ours=True)
    assert asked.header(request=True) == ("Session-Expires", "600;refresher=uac")
    for value, agreed in (
        ("", asked),
        ("Session-Expires: 300;refresher=uac\r\n", SessionTimer(interval_s=300, ours=True)),
        ("Session-Expires: 300;refresher=uas\r\n", SessionTimer(interval_s=300, ours=False)),
    ):
        response = read_response(
            f"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z1\r\nCSeq: 1 UPDATE\r\n{value}\r\n".encode()
        )
        assert response and refreshed_timer(asked, response) == agreed


async def test_an_interval_too_small_is_answered_422(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            short = ("Session-Expires: 60", "Supported: timer")
            refused = await phone.ask(request("INVITE", phone, content_type=SDP, body=sdp("1 sendonly"), extra=short))
            assert status(refused) == 422 and header(refused, "Min-SE") == "90"
            assert b.server.calls == 0 and not (tmp_path / "captures").exists()
            await phone.send(request("ACK", phone, branch="z9hG4bKINVITE1"))
            enough = ("Session-Expires: 90", "Supported: timer", "Min-SE: 90")
            taken = await phone.ask(
                request("INVITE", phone, cseq=2, content_type=SDP, body=sdp("1 sendonly"), extra=enough)
            )
            assert status(taken) == 200
            assert header(taken, "Session-Expires") == "90;refresher=uac" and header(taken, "Require") == "timer"
            await phone.send(request("ACK", phone, cseq=2, to_tag=to_tag(taken)))
            low = await phone.ask(request("UPDATE", phone, cseq=3, to_tag=to_tag(taken), extra=short))
            assert status(low) == 422
            assert b.server.calls == 1


async def test_a_session_that_is_not_refreshed_ends_with_its_last_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.sip.sessiontimer.MIN_SE_S", 1)
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            tag = await begin(phone, extra=("Session-Expires: 1", "Supported: timer"))
            last = time.time() - 60
            log_sound(b, last)
            bye = await next_request(phone, "BYE")
            assert header(bye, "From").endswith(f"tag={tag}")
            await phone.send(answer_to(bye))
        [call] = await b.ended()
    assert call.ended and (datetime.now(UTC) - call.ended).total_seconds() < 10  # the ACK was the last word
    assert not call.truncated and call.disposition is Disposition.ANSWERED
    assert any("did not refresh" in flag for flag in call.flags)


async def test_a_refreshed_session_goes_on_and_one_whose_sound_flows_is_not_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.sip.sessiontimer.MIN_SE_S", 1)
    monkeypatch.setattr("agent.sip.watch.FLOWING_S", 1.5)
    timer = ("Session-Expires: 1", "Supported: timer")
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            tag = await begin(phone, extra=timer)
            for cseq in range(2, 5):
                await asyncio.sleep(0.6)
                refreshed = await phone.ask(request("UPDATE", phone, cseq=cseq, to_tag=tag, extra=timer))
                assert status(refreshed) == 200 and header(refreshed, "Session-Expires") == "1;refresher=uac"
            log_sound(b, time.time() + 0.5)
            assert await phone.silent(1.5) and b.server.calls == 1  # expired, but sound comes
            await phone.send(answer_to(await next_request(phone, "BYE", 10)))
        [call] = await b.ended()
    assert call.ended and not call.truncated
    assert any("and yet sound came" in flag for flag in call.flags)


async def test_an_update_without_a_timer_ends_the_timer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.sip.sessiontimer.MIN_SE_S", 1)
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            tag = await begin(phone, extra=("Session-Expires: 1", "Supported: timer"))
            assert status(await phone.ask(request("UPDATE", phone, cseq=2, to_tag=tag))) == 200
            assert await phone.silent(1.5)
            assert b.server.calls == 1


@pytest.mark.parametrize("allow", ["INVITE, ACK, BYE, UPDATE", "INVITE, ACK, BYE"])
async def test_we_refresh_where_the_client_wants_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allow: str
) -> None:
    monkeypatch.setattr("agent.sip.sessiontimer.MIN_SE_S", 1)
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            extra = ("Session-Expires: 1;refresher=uas", "Supported: timer", f"Allow: {allow}")
            tag = await begin(phone, extra=extra)
            for cseq in (1, 2):
                refresh = await next_request(phone, "UPDATE" if "UPDATE" in allow else "INVITE")
                assert header(refresh, "Session-Expires") == "1;refresher=uac"
                assert header(refresh, "CSeq").startswith(f"{cseq} ")
                if "UPDATE" not in allow:
                    assert refresh.count(b"a=recvonly") == 2 and len(sdp_ports(refresh)) == 2
                    glare = request(
                        "INVITE", phone, cseq=10 + cseq, to_tag=tag, content_type=SDP, body=sdp("1 inactive")
                    )
                    assert status(await phone.ask(glare)) == 491  # ours waits for its answer
                    kept = ("Session-Expires: 1;refresher=uac", f"Content-Type: {SDP}")
                    await phone.send(answer_to(refresh, 200, kept, sdp("1 sendonly", "2 sendonly")))
                    await next_request(phone, "ACK")
                else:
                    await phone.send(answer_to(refresh, 200, ("Session-Expires: 1;refresher=uac",)))
            refresh = await next_request(phone, "UPDATE" if "UPDATE" in allow else "INVITE")
            await phone.send(answer_to(refresh, 481))
            if "UPDATE" not in allow:
                await next_request(phone, "ACK")
            await phone.send(answer_to(await next_request(phone, "BYE")))
        [call] = await b.ended()
    assert not call.truncated and any("did not refresh" in flag for flag in call.flags)


async def test_a_422_to_our_refresh_raises_the_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.sip.sessiontimer.MIN_SE_S", 1)
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            await begin(phone, extra=("Session-Expires: 1;refresher=uas", "Supported: timer"))
            await phone.send(answer_to(await next_request(phone, "UPDATE"), 422, ("Min-SE: 120",)))
            again = await next_request(phone, "UPDATE")
            assert header(again, "Session-Expires") == "120;refresher=uac"
            await phone.send(answer_to(again))
            assert await phone.silent(1.2) and b.server.calls == 1


@pytest.mark.parametrize(("code", "gone"), [(200, False), (405, False), (481, True), (None, True)])
async def test_a_silent_client_is_asked_whether_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None, gone: bool
) -> None:
    monkeypatch.setattr("agent.sip.outgoing.LIFETIME_S", 1.2)
    settings = SiprecSettings(listen="127.0.0.1", port=0, silent_minutes=0.01)
    async with bench(tmp_path, settings) as b:
        with Phone(b.address) as phone:
            tag = await begin(phone)
            began = time.time()
            log_sound(b, began + 0.3)  # as long as sound comes nobody is asked
            probe = await next_request(phone, "OPTIONS")
            assert time.time() - began > 0.3 + 0.6 - 0.05 and header(probe, "From").endswith(f"tag={tag}")
            if code:
                await phone.send(answer_to(probe, code))
            else:
                assert await next_request(phone, "OPTIONS") == probe  # repeated until answered
            if not gone:
                assert b.server.calls == 1
                await phone.send(answer_to(await next_request(phone, "OPTIONS")))  # and asked again later
                assert status(await phone.ask(request("BYE", phone, cseq=2, to_tag=tag))) == 200
            else:
                message = await phone.receive()
                while message == probe:
                    message = await phone.receive()
                assert message.startswith(b"BYE ")
                await phone.send(answer_to(message))
        [call] = await b.ended()
    assert not call.truncated
    if gone:
        assert call.ended and abs(call.ended.timestamp() - (began + 0.3)) < 0.2
    assert any("without a goodbye" in flag for flag in call.flags) is gone


async def test_our_goodbye_is_repeated_until_it_is_answered(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            await begin(phone)
            stopping = asyncio.create_task(b.server.stop(goodbye_s=5))
            bye = await next_request(phone, "BYE")
            assert await next_request(phone, "BYE") == bye
            assert not stopping.done()
            await phone.send(answer_to(bye))
            async with asyncio.timeout(2):
                await stopping
        [call] = await b.ended()
    assert call.truncated and call.details["ended_by"] == "shutdown"


async def test_over_tcp_we_connect_anew_to_say_goodbye(tmp_path: Path) -> None:
    came: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = await reader.readuntil(b"\r\n\r\n")
        came.put_nowait(message)
        writer.write(answer_to(message))
        await writer.drain()
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(take, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with bench(tmp_path) as b:
        with Phone(b.address, "tcp") as phone:
            body = sdp("1 sendonly")
            invite = request("INVITE", phone, content_type=SDP, body=body)
            contact = f"<sip:client@127.0.0.1:{phone.port}>".encode()
            answer = await phone.ask(invite.replace(contact, f"<sip:client@127.0.0.1:{port};transport=tcp>".encode()))
            await phone.send(request("ACK", phone, to_tag=to_tag(answer)))
        await until(lambda: not b.server._listeners._connections)
        await b.server.stop(goodbye_s=5)
        assert came.get_nowait().startswith(b"BYE ")
    listener.close()


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("sip:a@192.0.2.1:5070;transport=tcp", ("192.0.2.1", 5070)),
        ("sips:192.0.2.1", ("192.0.2.1", 5060)),
        ("sip:[2001:db8::1]:5062", ("2001:db8::1", 5062)),
        ("sip:a@client.example.com", None),
        ("sip:a@192.0.2.1:99999", None),
        ("tel:+74950000001", None),
        ("", None),
    ],
)
def test_where_a_contact_listens(uri: str, address: tuple[str, int] | None) -> None:
    assert address_of(uri) == address


async def test_options_and_requirements(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            alive = await phone.ask(request("OPTIONS", phone))
            assert status(alive) == 200 and "siprec" in header(alive, "Supported")
            wanted = ("Require: siprec, Foo", "Require: timer, bar;x")
            invite = request("INVITE", phone, content_type=SDP, body=sdp("1 sendonly"), extra=wanted)
            refused = await phone.ask(invite)
            assert status(refused) == 420 and header(refused, "Unsupported") == "Foo, bar;x"
            assert await phone.ask(invite) == refused
            known = ("Require: siprec,timer", "Require: 100rel")
            tag = await begin(phone, call_id="known@x", extra=known)
            bye = request("BYE", phone, call_id="known@x", cseq=2, to_tag=tag, extra=("Require: foo",))
            assert status(await phone.ask(bye)) == 200  # whoever wants to go may go


async def test_a_cancel_that_comes_too_late_changes_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            cancel = request("CANCEL", phone, branch="z9hG4bKINVITE1")
            assert status(await phone.ask(cancel)) == 481  # it overtook its INVITE
            answer = await phone.ask(request("INVITE", phone, content_type=SDP, body=sdp("1 inactive")))
            assert status(await phone.ask(cancel)) == 200
            await phone.send(request("ACK", phone, to_tag=to_tag(answer)))  # a 2xx won the race: ACK and BYE
            assert status(await phone.ask(request("BYE", phone, cseq=2, to_tag=to_tag(answer)))) == 200
        [call] = await b.ended()
    assert call.disposition is Disposition.NO_ANSWER and not call.truncated


async def test_an_invite_without_an_offer_gets_ours(tmp_path: Path) -> None:
    metadata = (
        b'<recording><session session_id="b2ZmZXJsZXNzIGludml0ZTE="/>'
        b'<participant participant_id="a"><nameID aor="sip:101@x"/><send>x</send></participant>'
        b'<participant participant_id="b"><nameID aor="sip:102@x"/><send>y</send></participant>'
        b'<stream stream_id="x"><label>5</label></stream><stream stream_id="y"><label>4</label></stream></recording>'
    )
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            kind = "application/rs-metadata+xml"
            offer = await phone.ask(request("INVITE", phone, content_type=kind, body=metadata))
            assert status(offer) == 200 and offer.count(b"a=recvonly") == 2 and b"telephone-event" in offer
            ports = sdp_ports(offer)
            answer = sdp("4 sendonly", "5 sendonly")
            await phone.send(request("ACK", phone, to_tag=to_tag(offer), content_type=SDP, body=answer))
            changed = request(
                "INVITE", phone, cseq=2, to_tag=to_tag(offer), content_type=SDP, body=sdp("4 inactive", "5 sendonly")
            )
            held = await phone.ask(changed)
            assert sdp_ports(held) == ports
            await phone.ask(request("BYE", phone, cseq=3, to_tag=to_tag(offer)))
        [call] = await b.ended()
        answered = await refused_offer(b)
    assert call.disposition is Disposition.ANSWERED
    assert [(s["label"], s["channel"]) for s in call.details["streams"]] == [("4", 1), ("5", 0)]
    assert answered.disposition is Disposition.NO_ANSWER


async def refused_offer(b: Bench) -> CapturedCall:
    """Our offer is acknowledged without an answer: nothing can be recorded, so we leave."""
    with Phone(b.address) as phone:
        offer = await phone.ask(request("INVITE", phone, call_id="empty@x"))
        await phone.send(request("ACK", phone, call_id="empty@x", to_tag=to_tag(offer)))
        await phone.send(answer_to(await next_request(phone, "BYE")))
    return (await b.ended(2))[-1]


async def test_a_held_client_that_asks_for_our_offer_may_go_on(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            tag = await begin(phone)
            hold = request("INVITE", phone, cseq=2, to_tag=tag, content_type=SDP, body=sdp("1 inactive", "2 inactive"))
            held = await phone.ask(hold)
            assert held.count(b"a=inactive") == 2
            await phone.send(request("ACK", phone, cseq=2, to_tag=tag))
            offered = await phone.ask(request("INVITE", phone, cseq=3, to_tag=tag))
            assert offered.count(b"a=recvonly") == 2 and sdp_ports(offered) == sdp_ports(held)
            for method, cseq in (("INVITE", 4), ("UPDATE", 5)):
                crossing = request(method, phone, cseq=cseq, to_tag=tag, content_type=SDP, body=sdp("1 sendonly"))
                assert status(await phone.ask(crossing)) == 491
            bare = request("UPDATE", phone, cseq=6, to_tag=tag)
            assert status(await phone.ask(bare)) == 200  # metadata or a refresh may pass
            answer = sdp("1 sendonly", "2 sendonly")
            await phone.send(request("ACK", phone, cseq=3, to_tag=tag, content_type=SDP, body=answer))
            update = request("UPDATE", phone, cseq=7, to_tag=tag, content_type=SDP, body=answer)
            changed = await phone.ask(update)
            assert status(changed) == 200 and sdp_ports(changed) == sdp_ports(held)


async def test_a_session_that_replaces_another_continues_its_conversation(tmp_path: Path) -> None:
    group = "9f6d7c1de0f24f3aa1b2"
    first = f'<recording><group group_id="{group}"/><session session_id="cmVwbGFjZWQgc2Vzc2lvbjE="/></recording>'
    second = '<recording><session session_id="cmVwbGFjaW5nIHNlc3Npb24="/></recording>'
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            kind, body = multipart(sdp("1 sendonly"), first.encode())
            answer = await phone.ask(request("INVITE", phone, call_id="one@x", content_type=kind, body=body))
            await phone.send(request("ACK", phone, call_id="one@x", to_tag=to_tag(answer)))
            kind, body = multipart(sdp("1 sendonly"), second.encode())
            replaces = (f"Replaces: one@x;to-tag={to_tag(answer)};from-tag=from1", "Require: replaces")
            invite = request("INVITE", phone, call_id="two@x", content_type=kind, body=body, extra=replaces)
            taken = await phone.ask(invite)
            assert status(taken) == 200
            bye = await next_request(phone, "BYE")
            assert header(bye, "Call-ID") == "one@x"
            await phone.send(answer_to(bye))
            await phone.send(request("ACK", phone, call_id="two@x", to_tag=to_tag(taken)))
            await phone.ask(request("BYE", phone, call_id="two@x", cseq=2, to_tag=to_tag(taken)))
            unknown = ("Replaces: gone@x;to-tag=1;from-tag=2",)
            lost = request("INVITE", phone, call_id="three@x", content_type=kind, body=body, extra=unknown)
            assert status(await phone.ask(lost)) == 200  # recorded all the same
        old, new = await b.ended(2)
    assert old.conversation_key == new.conversation_key == group
    assert not old.truncated and old.details["ended_by"] == "replaced"


async def test_several_clients_up_to_the_limit(tmp_path: Path) -> None:
    settings = SiprecSettings(listen="127.0.0.1", port=0, max_calls=3)
    async with bench(tmp_path, settings) as b:
        phones = [Phone(b.address, transport) for transport in ("udp", "tcp", "udp", "tcp")]
        tags = [await begin(phone, call_id=f"{at}@x") for at, phone in enumerate(phones[:3])]
        assert len(set(tags)) == 3 and b.server.calls == 3
        full = request("INVITE", phones[3], content_type=SDP, body=sdp("1 sendonly"))
        refused = await phones[3].ask(full)
        assert status(refused) == 503 and header(refused, "Retry-After") == "10"
        bye = request("BYE", phones[0], call_id="0@x", cseq=2, to_tag=tags[0])
        assert status(await phones[0].ask(bye)) == 200
        assert status(await phones[3].ask(full.replace(b"z9hG4bKINVITE1", b"z9hG4bKagain"))) == 200
        for phone in phones:
            phone.socket.close()


async def test_a_new_address_in_a_reinvite_is_followed(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            tag = await begin(phone)
            assert set(b.recorder.events.values()) == {frozenset({101})}
            same = sdp("1 inactive", "2 inactive")
            moved = sdp("1 sendonly", "2 sendonly").replace(b"c=IN IP4 127.0.0.1", b"c=IN IP4 192.0.2.7")
            for cseq, body in ((2, same), (3, moved.replace(b"telephone-event", b"x-other"))):
                change = request("UPDATE", phone, cseq=cseq, to_tag=tag, content_type=SDP, body=body)
                assert status(await phone.ask(change)) == 200
            assert b.recorder.expected == [(0, ("192.0.2.7", 6000)), (1, ("192.0.2.7", 6000))]
            assert set(b.recorder.events.values()) == {frozenset()}


async def test_after_a_restart_the_client_begins_anew_and_it_is_the_same_call(tmp_path: Path) -> None:
    session = "cmVzdGFydGVkIHNlc3Npb24="
    metadata = f'<recording><session session_id="{session}"/></recording>'.encode()
    kind, body = multipart(sdp("1 sendonly"), metadata)
    calls = []
    tag = ""
    for number in (1, 2):
        async with bench(tmp_path / str(number)) as b:
            with Phone(b.address) as phone:
                if tag:
                    for method in ("UPDATE", "INVITE", "BYE", "OPTIONS"):
                        known = request(method, phone, cseq=5, to_tag=tag, content_type=kind, body=body)
                        assert status(await phone.ask(known)) == 481
                invite = request("INVITE", phone, call_id=f"{number}@x", content_type=kind, body=body)
                tag = to_tag(await phone.ask(invite))
        calls += await b.ended()
    assert [call.key for call in calls] == [session, session]
    assert calls[0].truncated and calls[0].capture_id != calls[1].capture_id


async def test_played_calls_of_many_clients_at_once(tmp_path: Path) -> None:
    played = [
        PlayedCall(caller=f"+7495000{number:04}", callee="101", caller_sound=SOUND, callee_sound=SOUND)
        for number in range(20)
    ]
    async with bench(tmp_path) as b:
        transports = ("udp", "tcp")
        await asyncio.gather(*(play_call(b.address, call, transports[at % 2]) for at, call in enumerate(played)))
        calls = await b.ended(20)
    assert {call.key: call.parties[0].value for call in calls} == {one.session_id: one.caller for one in played}
