"""How a session ends that nobody ended: session timers, silence, and the goodbyes we say ourselves."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.model import Disposition
from agent.settings import SiprecSettings
from agent.sip.message import Request, read_request, read_response
from agent.sip.outgoing import address_of
from agent.sip.sessiontimer import SessionTimer, agreed_timer, asks_too_little, refreshed_timer, timer_headers
from tests.unit.sip_peers import (
    SDP,
    Phone,
    answer_to,
    begin,
    bench,
    header,
    log_sound,
    next_request,
    request,
    sdp,
    sdp_ports,
    status,
    to_tag,
    until,
)


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
