"""Seals stamped by a real RFC 3161 authority, `openssl ts`, and tokens that prove nothing."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from agent.archive.outposts import Outposts
from agent.archive.sealbook import SealBook
from agent.archive.sealkeys import SealKey
from agent.archive.seals import Seal, make_seal, parse_line, seal_statement
from agent.archive.timestamps import TimestampRefused, check_token, fetch_token, read_roots
from agent.errors import Misconfigured, Unavailable, Unreadable
from agent.settings_seal import SealSettings
from agent.store import seals
from agent.store.engine import Store
from tests.peers import require

_CONFIG = """
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
certs = {folder}/ca.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
ordering = yes
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
[req]
distinguished_name = dn
prompt = no
[dn]
CN = Example Timestamps
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[signer]
extendedKeyUsage = critical,timeStamping
keyUsage = critical,digitalSignature
authorityKeyIdentifier = keyid
"""


@dataclass(slots=True)
class Authority:
    """`openssl ts -reply` behind an HTTP door; ``mood`` makes it misbehave."""

    folder: Path
    url: str = ""
    mood: str = ""

    def openssl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["openssl", *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=30)

    def make(self) -> None:
        (self.folder / "openssl.cnf").write_text(_CONFIG.format(folder=self.folder))
        (self.folder / "serial").write_text("01\n")
        config = ("-config", "openssl.cnf")
        new = ("req", "-newkey", "rsa:2048", "-nodes", *config)
        for arguments in (
            (*new, "-x509", "-days", "30", "-keyout", "ca.key", "-out", "ca.pem", "-extensions", "ca"),
            (*new, "-subj", "/CN=Example Stamp 1", "-keyout", "tsa.key", "-out", "tsa.csr"),
            (
                *("x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "2"),
                *("-days", "20", "-extfile", "openssl.cnf", "-extensions", "signer", "-out", "tsa.pem"),
            ),
        ):
            done = self.openssl(*arguments)
            assert done.returncode == 0, done.stderr
        both = (self.folder / "ca.pem").read_text() + (self.folder / "tsa.pem").read_text()
        (self.folder / "trusted.pem").write_text(both)

    async def reply(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/timestamp-query"
        body = await request.read()
        if self.mood == "away":
            raise web.HTTPServiceUnavailable
        if self.mood == "closed":
            raise web.HTTPForbidden
        if self.mood == "garbage":
            return web.Response(body=b"\x30\x03\x02\x01")
        if self.mood == "endless":
            return web.Response(body=b"\x30" * 10_000_000)
        (self.folder / "query.tsq").write_bytes(self.other if self.mood == "another" else body)
        made = ("ts", "-reply", "-queryfile", "query.tsq", "-config", "openssl.cnf", "-out", "reply.tsr")
        done = await asyncio.to_thread(self.openssl, *made)
        assert done.returncode == 0, done.stderr
        return web.Response(body=(self.folder / "reply.tsr").read_bytes(), content_type="application/timestamp-reply")

    @property
    def other(self) -> bytes:
        """A question about something else."""
        self.openssl("ts", "-query", "-digest", "00" * 32, "-sha256", "-out", "other.tsq")
        return (self.folder / "other.tsq").read_bytes()


@pytest.fixture(scope="module")
async def authority(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Authority]:
    require("openssl")
    made = Authority(tmp_path_factory.mktemp("tsa"))
    await asyncio.to_thread(made.make)
    app = web.Application()
    app.router.add_post("/tsr", made.reply)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/tsr"
    yield made
    await runner.cleanup()


@pytest.fixture
def key(tmp_path: Path) -> SealKey:
    return SealKey.open_or_create(tmp_path / "keys", is_first=True)


def _seal(key: SealKey, number: int = 1) -> Seal:
    statement = seal_statement(
        number=number,
        length=7,
        head=b"h" * 32,
        at=datetime.now(UTC),
        previous=b"",
        installation=key.installation,
        key=key.fingerprint,
    )
    return make_seal(statement, key.sign(statement))


async def test_a_token_proves_the_seal_here_and_for_openssl(authority: Authority, key: SealKey) -> None:
    authority.mood = ""
    seal, roots = _seal(key), read_roots(authority.folder / "trusted.pem")
    token = await fetch_token(authority.url, seal, roots)
    stamp = check_token(token, seal, roots)
    assert abs(stamp.at - datetime.now(UTC)) < timedelta(minutes=5)
    assert stamp.authority == "CN=Example Stamp 1"
    (authority.folder / "token.tsr").write_bytes(token)
    proof = ("ts", "-verify", "-digest", seal.digest.hex(), "-in", "token.tsr", "-CAfile", "ca.pem")
    done = await asyncio.to_thread(authority.openssl, *proof, "-untrusted", "tsa.pem")
    assert "Verification: OK" in done.stdout + done.stderr


async def test_a_stamped_seal_counts_as_kept_outside_only_under_a_trusted_authority(
    authority: Authority, key: SealKey, tmp_path: Path
) -> None:
    authority.mood = ""
    bare = _seal(key)
    stamped = parse_line(replace(bare, tokens=(await fetch_token(authority.url, bare),)).to_line())
    for roots, independent in ((read_roots(authority.folder / "trusted.pem"), True), ([], False)):
        book = SealBook([key.public], roots)
        book.add([stamped], outside=False)
        assert book.problems == []
        assert book.is_independent(book.at(7)[0]) is independent


async def test_tokens_of_others_are_found(authority: Authority, key: SealKey, tmp_path: Path) -> None:
    authority.mood = ""
    seal, roots = _seal(key), read_roots(authority.folder / "trusted.pem")
    token = await fetch_token(authority.url, seal, roots)
    stranger = Authority(tmp_path)
    await asyncio.to_thread(stranger.make)
    for bad, whose, trusted in (
        (token, _seal(key, 2), roots),
        (token, seal, read_roots(tmp_path / "trusted.pem")),
        (token[:-1], seal, roots),
        (b"", seal, roots),
        (token[:200] + bytes([token[200] ^ 1]) + token[201:], seal, roots),
    ):
        with pytest.raises(Unreadable, match="proves nothing"):
            check_token(bad, whose, trusted)


@pytest.mark.parametrize(
    ("mood", "error", "words"),
    [
        ("away", Unavailable, "answers 503"),
        ("closed", TimestampRefused, "answers 403"),
        ("garbage", TimestampRefused, "no timestamp"),
        ("endless", TimestampRefused, "no timestamp"),
        ("another", TimestampRefused, "something else"),
    ],
)
async def test_an_authority_that_misbehaves(
    mood: str, error: type[Exception], words: str, authority: Authority, key: SealKey
) -> None:
    authority.mood = mood
    with pytest.raises(error, match=words):
        await fetch_token(authority.url, _seal(key))


async def test_an_authority_that_is_away_or_of_another_root(authority: Authority, key: SealKey, tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await fetch_token("http://127.0.0.1:1/", _seal(key))
    authority.mood = ""
    stranger = Authority(tmp_path)
    await asyncio.to_thread(stranger.make)
    with pytest.raises(TimestampRefused):
        await fetch_token(authority.url, _seal(key), read_roots(tmp_path / "trusted.pem"))
    with pytest.raises(Misconfigured):
        read_roots(tmp_path / "openssl.cnf")


async def test_the_job_keeps_the_token(authority: Authority, key: SealKey, store: Store) -> None:
    seal = _seal(key)
    async with store.begin() as connection:
        await seals.insert_seal(
            connection,
            number=1,
            length=7,
            statement=seal.statement,
            signature=seal.signature,
            sealed=seal.at,
            targets=["timestamp"],
        )
    ca = authority.folder / "trusted.pem"
    outposts = Outposts(store, SealSettings(timestamp_url=authority.url, timestamp_ca=ca))
    authority.mood = "away"
    with pytest.raises(Unavailable):
        await outposts.carry(1, "timestamp")
    async with store.begin() as connection:
        assert (await seals.list_copies(connection, 1))[0].problem == "The timestamp authority answers 503."
    authority.mood = ""
    await outposts.carry(1, "timestamp")
    async with store.begin() as connection:
        (kept,) = await seals.list_seals(connection)
        assert (await seals.list_copies(connection, 1))[0].delivered is not None
    assert check_token(kept.tokens[0], seal, read_roots(ca)).authority == "CN=Example Stamp 1"
