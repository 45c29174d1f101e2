"""Odd mailboxes on a live Dovecot: names of every sort, folders nobody may open, UIDs far apart, mails of no size."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest

from agent.demo.dovecot import quoted
from agent.model import SourceState
from tests.peer.dovecot import Dovecot
from tests.peer.mailbox_lab import Watched, dovecot, messages, short_pauses, until_state, watch

__all__ = ["dovecot", "short_pauses", "watch"]  # fixtures

pytestmark = pytest.mark.timeout(120)

_NAMES = (
    *("01", "007", "NIL", "nil", "Sent Items 2", 'с "кавычками"', "R&D", "100% скидка", "сто*", "(скобки) {5}"),
    *(
        "\\обратная",
        "эмодзи 😀",
        "я" * 60,
        "&",
        "&-",
        "a&b-c",
        " впереди",
        "дом~",
        "-",
        "()",
        "[x]",
        "INBOX 2",
        "#1",
        "+",
        "%",
    ),
)


def _fill(server: Dovecot, name: str, mails: list[bytes]) -> None:
    with server.client() as client:
        assert client.create(_in_quotes(name))[0] == "OK", name
    for one in mails:
        with server.client() as client:
            assert client.append(_in_quotes(name), "", "", one)[0] == "OK", name


def _in_quotes(name: str) -> str:
    return f'"{quoted(name)[1:-1].replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"'


async def test_folders_of_every_name_are_read(dovecot: Dovecot, watch: Callable[..., Watched]) -> None:
    received = messages(len(_NAMES))
    for name, one in zip(_NAMES, received, strict=True):
        await asyncio.to_thread(_fill, dovecot, name, [one])
    async with watch() as watched:
        await watched.until_archived(received)
        assert await until_state(watched, SourceState.RUNNING) == ""
        folders = {folder for ((folder, _),) in (await watched.copies()).values()}
    assert folders == set(_NAMES)


async def test_a_folder_that_nobody_may_open_is_named_and_the_others_are_read(
    dovecot: Dovecot, watch: Callable[..., Watched]
) -> None:
    received = messages(3)
    for name, one in zip(("Alpha", "Closed", "Omega"), received, strict=True):
        await asyncio.to_thread(_fill, dovecot, name, [one])
    closed = dovecot.mail / ".Closed"
    for path in (closed / "cur", closed / "new", closed / "tmp", closed):
        path.chmod(0)
    async with watch(poll_seconds=1) as watched:
        assert "Closed" in await until_state(watched, SourceState.FOLDER_MISSING)
        await watched.until_archived([received[0], received[2]])
        for path in (closed, closed / "cur", closed / "new", closed / "tmp"):
            path.chmod(0o700)
        await watched.until_archived(received)
        await until_state(watched, SourceState.RUNNING)


async def test_uids_far_apart_are_not_walked_through(dovecot: Dovecot, watch: Callable[..., Watched]) -> None:
    """Servers make UIDs of the time; a UID goes up to 2³² - 1 (RFC 9051, 2.3.1.1)."""
    first, second, third = messages(3), messages(3, start=3), messages(2, start=6)
    await asyncio.to_thread(dovecot.append, "INBOX", first)
    await _jump(dovecot, 1_700_000_000)
    await asyncio.to_thread(dovecot.append, "INBOX", second)
    async with watch(poll_seconds=1) as watched:
        await watched.until_archived(first + second)
        await watched.mailbox.stop()
        await _jump(dovecot, 4_000_000_000)
        await asyncio.to_thread(dovecot.append, "INBOX", third)
        await watched.restart()
        await watched.until_archived(first + second + third)
        await asyncio.to_thread(dovecot.expunge, "INBOX", "2")
        await watched.until_copies(lambda found: {key for key, ((_, one),) in found.items() if one.gone} == {"1"})
        position = await watched.position("INBOX")
    assert (position.low_uid, position.high_uid) == (1, 4_000_000_001)


async def _jump(server: Dovecot, uid: int) -> None:
    """The next message gets this UID."""
    server.kill()
    path = server.mail / "dovecot-uidlist"
    head, _, rest = path.read_text().partition("\n")
    words = [f"N{uid}" if word.startswith("N") else word for word in head.split()]
    path.write_text(" ".join(words) + "\n" + rest)
    for index in server.mail.glob("dovecot.index*"):
        index.unlink()
    await server.start()


async def test_a_mail_of_no_bytes_is_archived_and_stops_no_other(
    dovecot: Dovecot, watch: Callable[..., Watched]
) -> None:
    received = messages(2)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    empty = dovecot.mail / "cur" / "1700000000.M1P1.empty:2,S"
    empty.touch()
    owner = dovecot.mail.stat()
    os.chown(empty, owner.st_uid, owner.st_gid)
    async with watch() as watched:
        await watched.until_archived([b"", *received])


async def test_a_folder_renamed_during_its_first_pass_is_read_once(
    dovecot: Dovecot, watch: Callable[..., Watched]
) -> None:
    received = messages(900, size=3000)
    await asyncio.to_thread(_fill, dovecot, "Old", [])
    await asyncio.to_thread(dovecot.append, "Old", received)
    async with watch(poll_seconds=1) as watched:
        async with asyncio.timeout(30):
            while not await watched.archived():  # noqa: ASYNC110 - it waits for a row in the database
                await asyncio.sleep(0.01)
        with dovecot.client() as client:
            assert client.rename("Old", "New")[0] == "OK"
        await watched.until_archived(received)
        await until_state(watched, SourceState.RUNNING)
        await watched.until_copies(
            lambda found: all([folder for folder, one in each if not one.gone] == ["New"] for each in found.values())
        )
