"""The recording server over real sockets: answers, retransmissions, dialogs, refusals, and what is broken."""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path

import pytest

from agent.demo.siprec_client import CallRefused, PlayedCall, play_call
from agent.model import Disposition
from agent.settings import SiprecSettings
from agent.sip.journal import NO_MEDIA, read_journal
from tests.certificates import Authority
from tests.unit.sip_peers import (
    DATA,
    Phone,
    bench,
    header,
    multipart,
    request,
    sdp,
    sdp_ports,
    status,
    tls_settings,
    to_tag,
    until,
)

OPENSIPS = (DATA / "siprec" / "opensips-4.1-rtpengine-invite.sip").read_bytes()
SOUND = b"\xd5\x55" * 2400  # 0.6 s


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_played_call_is_recorded_with_parties_and_both_streams(tmp_path: Path, transport: str) -> None:
    call = PlayedCall(
        caller="+74950000001",
        callee="101",
        caller_name="Анна Примерова",
        callee_name="Иван Образцов",
        caller_sound=SOUND,
        callee_sound=SOUND,
        holds=((0.1, 0.2),),
        group_id="b7c1e0f2a4d64c0f",
    )
    async with bench(tmp_path) as b:
        played = await play_call(b.address, call, transport)
        [stored] = await b.ended()
        received = [len(packets) for packets in b.recorder.packets.values()]
    assert (stored.source, stored.key, stored.conversation_key) == ("siprec", call.session_id, call.group_id)
    assert stored.disposition is Disposition.ANSWERED
    assert [(p.position, p.value, p.name, p.channel) for p in stored.parties] == [
        ("caller", "+74950000001", "Анна Примерова", 0),
        ("callee", "101", "Иван Образцов", 1),
    ]
    assert stored.ended and stored.answered and stored.started <= stored.answered < stored.ended
    assert sum(received) == played.packets == 2 * 20  # 30 frames less 10 of hold, on both sides
    assert not stored.flags and not stored.truncated
    codecs = [stream["codecs"] for stream in stored.details["streams"]]
    assert codecs == [{"8": "PCMA/8000", "101": "telephone-event/8000"}] * 2


async def test_a_call_nobody_answered(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        for reason in ("Q.850;cause=19", "Q.850;cause=17", 'SIP;cause=486;text="Busy Here"'):
            await play_call(b.address, PlayedCall(caller="1", callee="2", answered=False, reason=reason))
        calls = await b.ended(3)
    assert [call.disposition for call in calls] == [Disposition.NO_ANSWER, Disposition.BUSY, Disposition.BUSY]
    assert all(call.answered is None and call.ended for call in calls)


async def test_a_call_is_answered_when_the_streams_become_active(tmp_path: Path) -> None:
    call = PlayedCall(caller="101", callee="+74950000001", caller_sound=SOUND, callee_sound=SOUND, ring_s=0.3)
    async with bench(tmp_path) as b:
        played = await play_call(b.address, call)
        [stored] = await b.ended()
    assert stored.answered and played.answered
    assert (stored.answered - stored.started).total_seconds() >= 0.29
    assert len(stored.details["streams"]) == 2


async def test_the_live_opensips_invite_over_tcp_from_another_port_than_its_via(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with Phone(b.address, "tcp") as phone:
            answer = await phone.ask(OPENSIPS)
            assert status(answer) == 200
            lines = answer.decode().split("\r\n")
            assert [line for line in lines if line.startswith("a=label")] == ["a=label:1", "a=label:0"]
            assert lines.count("a=rtpmap:120 telephone-event/16000") == lines.count("a=fmtp:120 0-16") == 2
            assert lines.count("a=rtpmap:96 speex/16000") == lines.count("a=recvonly") == 2
            assert all(f"m=audio {port} RTP/AVP 96 120" in lines for port in sdp_ports(answer))
            assert "c=IN IP4 127.0.0.1" in lines
        await asyncio.sleep(0)
        await b.server.stop()
        [stored] = await b.ended()
    assert stored.key == "pd+FTVrRT+yN9/fbO24jXw=="
    assert stored.conversation_key == stored.key  # the group "sales" is a name, not a conversation
    assert [(p.value, p.channel) for p in stored.parties] == [("79161234567", 0), ("101", 1)]
    assert [(s["index"], s["label"], s["channel"]) for s in stored.details["streams"]] == [(0, "1", 0), (1, "0", 1)]
    assert stored.truncated


async def test_a_repeated_invite_gets_the_same_answer_and_no_second_call(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            kind, body = multipart(sdp("1 sendonly", "2 sendonly"), b"")
            invite = request("INVITE", phone, content_type=kind, body=body)
            first = await phone.ask(invite)
            again = await phone.ask(invite)
            assert first == again and status(first) == 200
            assert b.server.calls == 1
            ack = request("ACK", phone, to_tag=to_tag(first), branch="z9hG4bKack")
            await phone.send(ack)
            bye = request("BYE", phone, cseq=2, to_tag=to_tag(first))
            answered = await phone.ask(bye)
            assert status(answered) == 200
            assert await phone.ask(bye) == answered  # the BYE too
            assert status(await phone.ask(request("BYE", phone, cseq=3, to_tag=to_tag(first)))) == 481
            other_way = request("INVITE", phone, content_type=kind, body=body, branch="z9hG4bKother")
            assert status(await phone.ask(other_way)) == 200  # the first call is over, so this one is new
            assert status(await phone.ask(other_way.replace(b"z9hG4bKother", b"z9hG4bKthird"))) == 482


async def test_the_answer_is_repeated_until_the_ack(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            first = await phone.ask(request("INVITE", phone, content_type="application/sdp", body=sdp("1 sendonly")))
            assert await phone.receive() == first  # after T1
            await phone.send(request("ACK", phone, to_tag=to_tag(first)))
            assert await phone.silent(1.2)


async def test_dialog_rules(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            offer = sdp("1 sendonly", "2 sendonly")
            first = await phone.ask(request("INVITE", phone, content_type="application/sdp", body=offer))
            tag, ports = to_tag(first), sdp_ports(first)

            def change(cseq: int, method: str = "INVITE", body: bytes = b"", kind: str = "application/sdp") -> bytes:
                return request(method, phone, cseq=cseq, to_tag=tag, content_type=kind if body else "", body=body)

            assert status(await phone.ask(change(2, body=offer))) == 200  # only the ACK was lost
            await phone.send(request("ACK", phone, cseq=2, to_tag=tag))
            swapped = await phone.ask(change(3, body=sdp("2 inactive", "1 sendonly", "3 sendonly")))
            assert status(swapped) == 200
            assert sdp_ports(swapped)[:2] == ports[::-1]  # ports by label
            assert re.findall(rb"a=(recvonly|inactive)", swapped) == [b"inactive", b"recvonly", b"recvonly"]
            await phone.send(request("ACK", phone, cseq=3, to_tag=tag))
            assert status(await phone.ask(change(2, body=offer, method="UPDATE"))) == 500  # out of order
            partial = b'<recording><datamode>partial</datamode><participant participant_id="p"/></recording>'
            updated = await phone.ask(change(4, "UPDATE", partial, "application/rs-metadata+xml"))
            assert status(updated) == 200 and not sdp_ports(updated)
            offerless = await phone.ask(change(5))
            assert sdp_ports(offerless) == sdp_ports(swapped)  # answered with our description, never without
            assert status(await phone.ask(change(6, "UPDATE", offer))) == 491  # our own offer waits for its answer
            await phone.send(request("ACK", phone, cseq=5, to_tag=tag))
            assert status(await phone.ask(request("OPTIONS", phone, cseq=7))) == 200
            assert status(await phone.ask(request("INFO", phone, cseq=8, to_tag=tag))) == 200  # a sign of life
            assert status(await phone.ask(request("MESSAGE", phone, cseq=8, to_tag=tag))) == 405
            assert header(await phone.ask(request("REGISTER", phone, cseq=9)), "Allow").startswith("INVITE, ACK")
            assert status(await phone.ask(request("UPDATE", phone, cseq=9, to_tag="other", body=b""))) == 481
            assert status(await phone.ask(request("CANCEL", phone, cseq=1, branch="z9hG4bKINVITE1"))) == 200
            assert status(await phone.ask(request("CANCEL", phone, cseq=99, branch="z9hG4bKnone"))) == 481
            assert b.server.calls == 1


async def test_without_rport_the_answer_goes_to_the_port_of_the_via(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with Phone(b.address) as sender, Phone(b.address) as listener:
            await sender.send(request("OPTIONS", listener, rport=False))
            answer = await listener.receive()
            assert status(answer) == 200 and "received" not in header(answer, "Via")
            await sender.send(request("OPTIONS", listener, rport=True))
            assert f";received=127.0.0.1;rport={sender.port}" in header(await sender.receive(), "Via")


async def test_refusals(tmp_path: Path) -> None:
    settings = SiprecSettings(listen="127.0.0.1", port=0, max_calls=1)
    async with bench(tmp_path, settings) as b:
        with Phone(b.address) as phone:
            encrypted = sdp("1 sendonly").replace(b"RTP/AVP", b"RTP/SAVP")
            for number, body in enumerate((b"v=0\r\n", encrypted, b"v=0\r\nm=video 1 RTP/AVP 96\r\n")):
                invite = request("INVITE", phone, cseq=number, content_type="application/sdp", body=body)
                assert status(await phone.ask(invite)) == 488
            b.recorder.full = True
            invite = request("INVITE", phone, cseq=10, content_type="application/sdp", body=sdp("1 sendonly"))
            refused = await phone.ask(invite)
            assert status(refused) == 503 and header(refused, "Retry-After")
            b.recorder.full = False
            assert status(await phone.ask(invite)) == 200
            over = request("INVITE", phone, call_id="b@x", content_type="application/sdp", body=sdp("1 sendonly"))
            refused = await phone.ask(over)
            assert status(refused) == 503 and header(refused, "Retry-After")


async def test_a_stranger_is_refused(tmp_path: Path) -> None:
    async with bench(tmp_path, SiprecSettings(listen="127.0.0.1", port=0, allow=("192.0.2.0/24",))) as b:
        with Phone(b.address) as phone:
            assert status(await phone.ask(OPENSIPS.replace(b"5080;branch", b"5080;rport;branch"))) == 403
        strangers = [Phone(b.address, "tcp") for _ in range(20)]
        answers = [await asyncio.gather(phone.ask(OPENSIPS), return_exceptions=True) for phone in strangers]
        told = [answer for [answer] in answers if isinstance(answer, bytes)]
        assert len(told) == 16 and all(status(answer) == 403 for answer in told)
        for phone in strangers:
            phone.socket.close()
        with pytest.raises(CallRefused):
            await play_call(b.address, PlayedCall(caller="1", callee="2"))
    assert not (tmp_path / "captures").exists()


async def test_no_sound_after_the_ack_is_said_loudly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.sip.watch.MEDIA_AWAITED_S", 0.05)
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            for number, heard in enumerate((False, True)):
                call_id = f"{number}@x"
                invite = request(
                    "INVITE", phone, call_id=call_id, content_type="application/sdp", body=sdp("1 sendonly")
                )
                answer = await phone.ask(invite)
                folder = max((tmp_path / "captures").iterdir(), key=lambda path: path.stat().st_mtime_ns)
                if heard:
                    b.server.first_packet(folder.name, 0)
                await phone.send(request("ACK", phone, call_id=call_id, to_tag=to_tag(answer)))
                await asyncio.sleep(0.2)
                kinds = [fact.kind for fact in read_journal(folder)]
                assert (NO_MEDIA in kinds) is not heard
                await phone.ask(request("BYE", phone, call_id=call_id, cseq=2, to_tag=to_tag(answer)))
        calls = await b.ended(2)
    assert [any("no sound" in flag for flag in call.flags) for call in calls] == [True, False]


async def test_stopping_says_goodbye_and_marks_the_call_as_cut(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with Phone(b.address) as phone:
            answer = await phone.ask(OPENSIPS.replace(b"5080;branch", b"5080;rport;branch"))
            await b.server.stop()
            bye = await phone.receive()
            assert bye.startswith(b"BYE sip:127.0.0.1:5080;transport=tcp SIP/2.0")
            assert header(bye, "From").endswith(f"tag={to_tag(answer)}")
        [call] = await b.ended()
    assert call.truncated and call.details["ended_by"] == "shutdown"


async def test_a_second_recording_of_a_session_is_a_second_capture_of_the_same_call(tmp_path: Path) -> None:
    session = "6f1c0f0e5f2d4b8fa3a1"
    async with bench(tmp_path) as b:
        for _ in range(2):
            await play_call(b.address, PlayedCall(caller="1", callee="2", answered=False, session_id=session))
        first, second = await b.ended(2)
    assert first.key == second.key == session
    assert first.capture_id != second.capture_id


async def test_an_id_too_short_to_be_unique_hides_no_call_in_another(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        for _ in range(2):
            await play_call(b.address, PlayedCall(caller="1", callee="2", answered=False, session_id="1"))
        first, second = await b.ended(2)
    assert first.key != second.key and first.key.startswith("1;") and second.key.startswith("1;")


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_the_torture_messages_leave_the_server_unharmed(tmp_path: Path, transport: str) -> None:
    torture = sorted((DATA / "rfc4475").glob("*.dat"))
    assert len(torture) == 49
    authority = Authority(tmp_path / "tls")
    tls = authority.client_context()
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    try:
        async with bench(tmp_path, tls_settings(authority.issue("server"))) as b:
            for path in torture:
                async with b.phone(transport, tls) as phone:
                    await phone.send(path.read_bytes())
                    with contextlib.suppress(ConnectionError):
                        await phone.silent(0.01)
            assert b.server.failures == 0
            call = PlayedCall(caller="1", callee="2", caller_sound=SOUND, callee_sound=SOUND)
            await play_call(b.tls_address if transport == "tls" else b.address, call, transport, tls=tls)
            await until(lambda: call.session_id in b.intake.calls and bool(b.intake.calls[call.session_id].ended))
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
    assert not problems
    assert b.intake.calls[call.session_id].disposition is Disposition.ANSWERED
