"""openssl s_client as the TLS peer: what another implementation of TLS sees of the recording server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.peers import require
from tests.unit.sip_peers import Bench, bench, tls_settings

OPTIONS = (
    b"OPTIONS sip:recorder@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:5061;branch=z9hG4bKopenssl\r\n"
    b"From: <sip:client@127.0.0.1>;tag=1\r\nTo: <sip:recorder@127.0.0.1>\r\nCall-ID: openssl@x\r\n"
    b"CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


async def s_client(b: Bench, *options: str) -> str:
    """What it prints: its view of the handshake, and the answer to an OPTIONS."""
    host, port = b.tls_address
    process = await asyncio.create_subprocess_exec(
        require("openssl"),
        *("s_client", "-connect", f"{host}:{port}", "-verify_return_error", *options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdin and process.stdout
    process.stdin.write(OPTIONS)
    said = b""
    async with asyncio.timeout(30):
        while b"Content-Length: 0" not in said and (more := await process.stdout.read(4096)):
            said += more
        process.stdin.close()
        await process.wait()
    return said.decode(errors="replace")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_it_verifies_us_and_gets_its_answer(tmp_path: Path, version: str) -> None:
    authority = Authority(tmp_path / "tls")
    async with bench(tmp_path, tls_settings(authority.issue("server"))) as b:
        said = await s_client(b, version, "-CAfile", str(authority.certificate))
    assert "SIP/2.0 200 OK" in said and "Verify return code: 0 (ok)" in said
    assert version.removeprefix("-tls").replace("_", ".") in said


async def test_client_certificates_and_old_versions(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    trusted = ("-CAfile", str(authority.certificate))
    client = authority.issue("client")
    shown = ("-cert", str(client.certificate), "-key", str(client.key))
    async with bench(tmp_path, tls_settings(authority.issue("server"), authority.certificate)) as b:
        assert "SIP/2.0 200 OK" in await s_client(b, *trusted, *shown)
        assert "SIP/2.0" not in await s_client(b, *trusted)
        assert "SIP/2.0" not in await s_client(b, *trusted, *shown, "-tls1_1")
