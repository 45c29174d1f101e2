"""The rules of SIP that keep a recording alive: glare, options, offers of ours, replacements, several clients."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.demo.siprec_client import PlayedCall, play_call
from agent.model import CapturedCall, Disposition
from agent.settings import SiprecSettings
from agent.sip import dialogs, transport
from agent.sip.journal import STREAM, UPDATED, read_journal
from tests.unit.sip_peers import (
    SDP,
    Bench,
    Phone,
    answer_to,
    begin,
    bench,
    header,
    multipart,
    next_request,
    request,
    sdp,
    sdp_ports,
    status,
    to_tag,
    until,
)

SOUND = b"\xd5\x55" * 1600


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


async def test_a_thousand_connections_without_a_word_keep_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_CONNECTIONS", 100)
    async with bench(tmp_path) as b:
        with Phone(b.address, "tcp") as first:  # whoever has spoken stays
            assert status(await first.ask(request("OPTIONS", first))) == 200
            mute = await asyncio.to_thread(lambda: [Phone(b.address, "tcp") for _ in range(300)])
            await until(lambda: len(b.server._listeners._connections) == 100)
            for cseq in range(2, 8):
                with Phone(b.address, "tcp") as phone:
                    assert status(await phone.ask(request("OPTIONS", phone, cseq=cseq, call_id=f"{cseq}@x"))) == 200
            assert status(await first.ask(request("OPTIONS", first, cseq=9))) == 200
            for one in mute:
                one.socket.close()
        await until(lambda: not b.server._listeners._connections)


async def test_a_storm_of_reinvites_fills_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogs, "MOST_TOLD", 40_000)
    offer, held = sdp("1 sendonly", "2 sendonly"), sdp("1 inactive", "2 inactive")
    async with bench(tmp_path) as b:
        with Phone(b.address, "tcp") as phone:
            first = await phone.ask(request("INVITE", phone, content_type="application/sdp", body=offer))
            tag = to_tag(first)
            await phone.send(request("ACK", phone, to_tag=tag))
            for cseq in range(2, 152):  # the same again, as a refresh is, then ever new ones
                body = offer if cseq < 102 else offer + f"a=x:{'y' * 1000}{cseq}\r\n".encode()
                again = request("INVITE", phone, cseq=cseq, to_tag=tag, content_type="application/sdp", body=body)
                assert status(await phone.ask(again)) == 200
                await phone.send(request("ACK", phone, cseq=cseq, to_tag=tag))
            (folder,) = (tmp_path / "captures").iterdir()
            facts = [one for one in read_journal(folder) if one.kind == UPDATED]
            assert len(facts) == 150 and 20 <= sum(bool(one.raw()) for one in facts) <= 40
            last = request("INVITE", phone, cseq=200, to_tag=tag, content_type="application/sdp", body=held)
            assert status(await phone.ask(last)) == 200
            await phone.send(request("ACK", phone, cseq=200, to_tag=tag))
            states = [one.data["active"] for one in read_journal(folder) if one.kind == STREAM]
            assert states == [True, True, False, False]  # what changes is known all the same
            await phone.ask(request("BYE", phone, cseq=201, to_tag=tag))
