"""Seals as they are made, carried away and come back; the blobs re-read meanwhile."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP
from sqlalchemy import text

from agent import jobs
from agent.archive.blobs import put_once
from agent.archive.contents import MISSING
from agent.archive.notary import SOURCE as SEALS
from agent.archive.notary import ChainRewritten, Notary
from agent.archive.outposts import Outposts, SealRefused, file_name
from agent.archive.rereading import SOURCE as ARCHIVE
from agent.archive.rereading import Rereader
from agent.archive.sealkeys import SealKey, SealKeyMissing
from agent.archive.seals import parse_line, read_public_keys, read_seals, to_pem
from agent.errors import BlobAltered, Misconfigured, Unavailable, Unreadable
from agent.model import SourceState
from agent.settings_seal import SealSettings
from agent.store import seals, sources
from agent.store.engine import Store
from tests.peers import require
from tests.postgres import PostgresForTests
from tests.unit.evidence_lab import Lab


@pytest.fixture
async def lab(postgres: PostgresForTests, tmp_path: Path) -> AsyncIterator[Lab]:
    store = Store(await postgres.new_database())
    yield Lab.open(store, tmp_path)
    await store.close()


def _notary(lab: Lab, *targets: str, every_links: int = 10_000) -> Notary:
    return Notary(lab.store, lab.keys, targets=targets, announce=jobs.carry_seal, every_links=every_links)


async def _state(store: Store, source: str) -> tuple[SourceState, str]:
    async with store.begin() as connection:
        return next((one.state, one.detail) for one in await sources.list_statuses(connection) if one.source == source)


async def test_a_seal_is_due_at_first_after_a_day_and_after_many_links(lab: Lab) -> None:
    notary = _notary(lab, every_links=4)
    assert not await notary.is_due()
    await lab.add(1)
    assert await notary.is_due()
    await notary.seal()
    assert not await notary.is_due()
    await lab.add(3)
    assert not await notary.is_due()
    await lab.execute("UPDATE seal SET sealed_at = sealed_at - interval '1 day'")
    assert await notary.is_due()
    await lab.execute("UPDATE seal SET sealed_at = now()")
    await lab.add(1)
    assert await notary.is_due()


async def test_a_seal_is_chained_to_the_one_before_and_its_carrying_is_deferred_with_it(lab: Lab) -> None:
    notary = _notary(lab, "mail", "bucket")
    await lab.add(2)
    first = await notary.seal()
    assert await notary.seal() is None  # nothing is new
    await lab.add(1)
    second = await notary.seal()
    assert first is not None
    assert second is not None
    assert (second.number, second.length, second.previous) == (2, 3, first.digest)
    assert second.installation == first.installation != ""
    async with lab.store.begin() as connection:
        found = await connection.execute(text("SELECT args FROM procrastinate_jobs WHERE task_name = 'carry_seal'"))
        assert sorted((row.args["number"], row.args["target"]) for row in found) == [
            *((1, "bucket"), (1, "mail")),
            *((2, "bucket"), (2, "mail")),
        ]


async def test_many_notaries_make_one_seal(lab: Lab) -> None:
    await lab.add(3)
    made = await asyncio.gather(*(_notary(lab).seal() for _ in range(4)))
    assert [one.number for one in made if one is not None] == [1]


async def test_what_was_sealed_and_is_not_there_any_more_is_not_sealed_over(lab: Lab) -> None:
    await lab.add(2)
    await lab.seal()
    await lab.execute("UPDATE blob SET source = 'else' WHERE id = 1")
    await lab.hash_anew()
    await lab.add(1)
    with pytest.raises(ChainRewritten, match="seal 1"):
        await _notary(lab).seal()


async def test_a_lost_key_is_not_replaced_in_silence(lab: Lab) -> None:
    await lab.add(1)
    await lab.seal()
    old = next(lab.keys.glob("seal-*.key"))
    old.rename(lab.folder / "lost")
    await lab.add(1)
    with pytest.raises(SealKeyMissing, match="renew-key"):
        await _notary(lab).seal()
    SealKey.renew(lab.keys)
    assert await _notary(lab).seal() is not None
    key = SealKey.open(lab.keys)
    assert key is not None
    (lab.vault / "new.pem").write_text(to_pem(key.public) + (lab.vault / "key.pem").read_text())
    assert len(read_public_keys(lab.vault / "new.pem")) == 2


def test_key_files_are_private_and_kept(tmp_path: Path) -> None:
    key = SealKey.open_or_create(tmp_path, is_first=True)
    file = tmp_path / "seal-0001.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert SealKey.open_or_create(tmp_path, is_first=False).fingerprint == key.fingerprint
    assert key.check_code == key.fingerprint[:8]
    file.chmod(0o644)
    with pytest.raises(Misconfigured, match="can be read by others"):
        SealKey.open(tmp_path)


async def test_openssl_accepts_a_seal(lab: Lab) -> None:
    """As docs/evidence.md tells a court to do it."""
    program = require("openssl")
    await lab.add(1)
    made = await lab.seal()
    fields = json.loads((lab.vault / "seal-1.json").read_bytes())
    (lab.vault / "statement").write_text(fields["seal"])
    (lab.vault / "signature").write_bytes(bytes.fromhex(fields["signature"]))
    command = [program, "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "statement"]
    done = await asyncio.to_thread(
        subprocess.run, [*command, "-sigfile", "signature"], cwd=lab.vault, capture_output=True, text=True, check=False
    )
    assert "Verified Successfully" in done.stdout, done.stderr
    assert made.length == 1


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b'{"seal": 1, "signature": ""}', b'{"seal": "{}", "signature": "zz"}', b"[" * 10_000],
)
def test_lines_that_are_no_seal(line: bytes) -> None:
    with pytest.raises(Unreadable):
        parse_line(line)


class _Server:
    """A mail server that takes, or says what it is told to."""

    def __init__(self) -> None:
        self.answer = "250 taken"
        self.taken: list[bytes] = []

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.answer.startswith("250"):
            self.taken.append(envelope.content)
        return self.answer


@asynccontextmanager
async def _serve(handler: _Server) -> AsyncIterator[int]:
    """The port of a mail server for the length of the block."""
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(handler), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_seal_goes_out_by_mail_and_comes_back_from_it(lab: Lab) -> None:
    server = _Server()
    async with _serve(server) as port:
        settings = SealSettings(mail_to="seals@notary.example.com", smtp_port=port, smtp_tls="none")
        await lab.add(2)
        made = await _notary(lab, "mail").seal()
        assert made is not None
        carrier = Outposts(lab.store, settings)
        server.answer = "451 later"
        with pytest.raises(Unavailable, match="451 later"):
            await carrier.carry(1, "mail")
        assert (await _state(lab.store, "seal:mail"))[0] is SourceState.UNREACHABLE
        server.answer = "550 no"
        with pytest.raises(SealRefused, match="550 no"):
            await carrier.carry(1, "mail")
        server.answer = "250 taken"
        await carrier.carry(1, "mail")
        assert await _state(lab.store, "seal:mail") == (SourceState.RUNNING, "seal 1 (2 links) arrived")
        (lab.vault / "seal.eml").write_bytes(server.taken[0])
        assert read_seals(lab.vault / "seal.eml") == [made]


async def test_a_mail_server_that_is_away_or_has_no_tls(lab: Lab) -> None:
    await lab.add(1)
    await _notary(lab, "mail").seal()
    with pytest.raises(Unavailable):
        await Outposts(lab.store, SealSettings(mail_to="a@example.com", smtp_port=1)).carry(1, "mail")
    async with _serve(_Server()) as port:
        carrier = Outposts(lab.store, SealSettings(mail_to="a@example.com", smtp_port=port))
        with pytest.raises(SealRefused, match="no such way in"):
            await carrier.carry(1, "mail")
        assert (await _state(lab.store, "seal:mail"))[0] is SourceState.LOGIN_FAILED


async def test_a_place_that_is_not_configured_any_more_is_left(lab: Lab) -> None:
    await lab.add(1)
    await _notary(lab, "mail").seal()
    await Outposts(lab.store, SealSettings()).carry(1, "mail")
    async with lab.store.begin() as connection:
        assert (await seals.list_copies(connection, 1))[0].delivered is None


async def test_a_bucket_takes_each_name_once(lab: Lab) -> None:
    bucket = (lab.folder / "bucket").as_uri()
    (lab.folder / "bucket").mkdir()
    await lab.add(1)
    made = await _notary(lab, "bucket").seal()
    assert made is not None
    settings = SealSettings.model_construct(bucket=bucket, mail_to="", timestamp_url="")
    for _ in range(2):  # a job that was killed runs again
        await Outposts(lab.store, settings).carry(1, "bucket")
    assert read_seals(lab.folder / "bucket") == [made]
    with pytest.raises(BlobAltered):
        put_once(bucket, file_name(made), b"else")


async def test_what_rots_is_found_and_said_until_it_is_put_right(lab: Lab) -> None:
    await lab.add(3)
    await lab.execute("UPDATE blob SET checked_at = now() - interval '31 days'")
    reader = Rereader(lab.store, lab.archive, days=30, megabytes_a_second=1000)
    await reader.walk()
    assert (await _state(lab.store, ARCHIVE))[0] is SourceState.RUNNING
    path = next(path for path in lab.blobs.rglob("*") if path.is_file())
    content = path.read_bytes()
    path.unlink()
    assert await reader.read_batch() > 0
    assert await reader.read_batch() == 0
    state, words = await _state(lab.store, ARCHIVE)
    assert state is SourceState.DAMAGED
    assert path.name in words
    assert MISSING in words
    path.write_bytes(content)
    await lab.execute("UPDATE blob SET checked_at = now() - interval '31 days'")
    await reader.read_batch()
    await reader.walk()
    assert (await _state(lab.store, ARCHIVE))[0] is SourceState.RUNNING


async def test_a_broken_chain_is_said_by_the_daily_walk(lab: Lab) -> None:
    await lab.add(3)
    await lab.seal()
    assert (await _state(lab.store, SEALS))[0] is SourceState.RUNNING
    await lab.execute("UPDATE blob SET source = 'else' WHERE id = 2")
    await Rereader(lab.store, lab.archive, days=30, megabytes_a_second=1000).walk()
    state, words = await _state(lab.store, ARCHIVE)
    assert state is SourceState.DAMAGED
    assert "link 2" in words


async def test_trouble_with_the_key_or_the_database_is_said_and_stops_nothing(lab: Lab) -> None:
    """A task that ended would end the service, and with it the recording."""
    await lab.add(1)
    await lab.seal()
    await lab.add(1)
    await lab.execute("UPDATE seal SET sealed_at = now() - interval '3 days'")
    next(lab.keys.glob("seal-*.key")).chmod(0o644)
    notary = asyncio.create_task(_notary(lab).run())
    reader = asyncio.create_task(Rereader(lab.store, lab.archive, days=30, megabytes_a_second=1000).run())
    async with asyncio.timeout(30):
        while (await _state(lab.store, SEALS))[0] is not SourceState.STOPPED:
            pass
    assert "can be read by others" in (await _state(lab.store, SEALS))[1]
    away = Store("postgresql:///nothing?host=/nonexistent&user=cardline")
    lost = asyncio.create_task(Notary(away, lab.keys, targets=(), announce=jobs.carry_seal).run())
    blind = asyncio.create_task(Rereader(away, lab.archive, days=30, megabytes_a_second=1000).run())
    done, _ = await asyncio.wait((notary, reader, lost, blind), timeout=1)
    assert done == set()
    for task in (notary, reader, lost, blind):
        task.cancel()
    await asyncio.gather(notary, reader, lost, blind, return_exceptions=True)
    await away.close()


def test_settings_name_the_places() -> None:
    assert SealSettings(mail_to="a@example.com", bucket="s3://seals/x").targets == ("mail", "bucket")
    with pytest.raises(ValueError, match="one address"):
        SealSettings(mail_to="a@example.com\r\nBcc: x@example.com")
