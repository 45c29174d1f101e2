"""TLS: versions, certificates of the server and of clients, renewal, strangers; a whole call over it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from agent.demo.siprec_client import CallRefused, PlayedCall, play_call
from agent.errors import Misconfigured
from agent.model import Disposition
from agent.settings import SiprecSettings
from tests.certificates import Authority, KeyPair
from tests.unit.sip_peers import bench, header, request, sdp, status, tls_settings, to_tag, until

SOUND = b"\xd5\x55" * 1600


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> KeyPair:
    return authority.issue("server")


async def test_a_whole_call_over_tls(tmp_path: Path, authority: Authority, server: KeyPair) -> None:
    call = PlayedCall(caller="+74950000001", callee="101", caller_sound=SOUND, callee_sound=SOUND, holds=((0.1, 0.1),))
    async with bench(tmp_path, tls_settings(server)) as b:
        played = await play_call(b.tls_address, call, "tls", tls=authority.client_context())
        [stored] = await b.ended()
        assert sum(len(packets) for packets in b.recorder.packets.values()) == played.packets > 0
    assert stored.disposition is Disposition.ANSWERED and not stored.flags
    assert stored.details["transport"] == "tls"


async def test_the_contact_says_how_we_are_reached(tmp_path: Path, authority: Authority, server: KeyPair) -> None:
    async with bench(tmp_path, tls_settings(server)) as b:
        port = b.tls_address[1]
        for number, (scheme, contact) in enumerate(
            {
                b"sip:": f"<sip:cardline@127.0.0.1:{port};transport=tls>;+sip.srs",
                b"sips:": f"<sips:cardline@127.0.0.1:{port};transport=tcp>;+sip.srs",
            }.items()
        ):
            async with b.phone("tls", authority.client_context()) as phone:
                body = sdp("1 sendonly")
                invite = request(
                    "INVITE", phone, call_id=f"{number}@x", content_type="application/sdp", body=body
                ).replace(b"INVITE sip:", b"INVITE " + scheme)
                answer = await phone.ask(invite)
                assert status(answer) == 200 and header(answer, "Contact") == contact
                await phone.send(request("ACK", phone, call_id=f"{number}@x", to_tag=to_tag(answer)))
                bye = request("BYE", phone, call_id=f"{number}@x", cseq=2, to_tag=to_tag(answer))
                assert status(await phone.ask(bye)) == 200


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_old_versions_and_plain_text_are_refused(tmp_path: Path, authority: Authority, server: KeyPair) -> None:
    async with bench(tmp_path, tls_settings(server)) as b:
        old = authority.client_context()
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with pytest.raises(OSError):
            async with b.phone("tls", old):
                pass
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = authority.client_context()
            context.minimum_version = context.maximum_version = version
            async with b.phone("tls", context) as phone:
                assert status(await phone.ask(request("OPTIONS", phone))) == 200
        reader, writer = await asyncio.open_connection(*b.tls_address)
        writer.write(b"OPTIONS sip:a@b SIP/2.0\r\n\r\n")
        assert b"SIP" not in await reader.read()
        writer.close()


async def test_clients_must_show_a_certificate_where_that_is_required(
    tmp_path: Path, authority: Authority, server: KeyPair
) -> None:
    other = Authority(tmp_path / "other", "stranger")
    settings = tls_settings(server, client_ca=authority.certificate)
    call = PlayedCall(caller="1", callee="2", answered=False)
    async with bench(tmp_path, settings) as b:
        await play_call(b.tls_address, call, "tls", tls=authority.client_context(authority.issue("client")))
        foreign = authority.client_context()
        pair = other.issue("client")
        foreign.load_cert_chain(pair.certificate, pair.key)
        for context in (authority.client_context(), foreign):
            with pytest.raises((CallRefused, OSError)):
                await play_call(b.tls_address, call, "tls", tls=context)
        assert len(await b.ended()) == 1


async def test_a_renewed_certificate_is_taken_without_a_restart(tmp_path: Path, authority: Authority) -> None:
    pair = authority.issue("renewed")
    async with bench(tmp_path, tls_settings(pair)) as b:

        async def serial() -> str:
            _, writer = await asyncio.open_connection(*b.tls_address, ssl=authority.client_context())
            found = writer.get_extra_info("peercert")["serialNumber"]
            writer.close()
            return str(found)

        first = await serial()
        assert await serial() == first
        authority.issue("renewed")
        second = await serial()
        assert second != first
        pair.key.write_bytes(b"half written")
        assert await serial() == second  # a broken renewal changes nothing


async def test_strangers_and_the_undecided_hold_nothing(tmp_path: Path, authority: Authority, server: KeyPair) -> None:
    strange = tls_settings(server).model_copy(update={"allow": ("192.0.2.0/24",)})
    async with bench(tmp_path / "strange", strange) as b:
        with pytest.raises(OSError):
            async with b.phone("tls", authority.client_context()):
                pass
    async with bench(tmp_path / "known", tls_settings(server)) as b:
        tls = b.server._listeners._tls
        assert tls
        waiting = [socket.create_connection(b.tls_address) for _ in range(70)]  # they never shake hands
        await until(lambda: len(tls._handshakes) >= 16)
        async with b.phone("tls", authority.client_context(), source="127.0.0.9") as phone:  # and keep nobody else out
            assert status(await phone.ask(request("OPTIONS", phone))) == 200
        waiting += [
            socket.create_connection(b.tls_address, source_address=(f"127.0.0.{host}", 0))
            for host in range(10, 15)
            for _ in range(16)
        ]
        await until(lambda: len(tls._handshakes) >= 64)
        for sock in waiting:
            sock.close()
        await until(lambda: not tls._handshakes)
        async with b.phone("tls", authority.client_context()) as phone:
            assert status(await phone.ask(request("OPTIONS", phone))) == 200


async def test_what_cannot_be_used_is_said_at_the_start(tmp_path: Path, server: KeyPair) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for settings, name in (
        (SiprecSettings(listen="127.0.0.1", port=0, tls_certificate=server.certificate), "siprec.tls_key"),
        (tls_settings(KeyPair(certificate=broken, key=server.key)), "siprec.tls_certificate"),
        (
            tls_settings(KeyPair(certificate=server.certificate, key=tmp_path / "missing.pem")),
            "^siprec.tls_key: .*missing.pem",
        ),
        (tls_settings(server, client_ca=broken), "siprec.tls_client_ca"),
    ):
        with pytest.raises(Misconfigured, match=name):
            async with bench(tmp_path, settings):
                pass
