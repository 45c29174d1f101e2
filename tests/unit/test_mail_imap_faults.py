"""Servers that misbehave in ways Dovecot does not: a scripted one that throttles, refuses messages, gives no UIDs."""

from __future__ import annotations

import asyncio

import pytest

from agent.mail.imap import Mailbox
from agent.model import SourceState
from tests.unit.imap_lab import Reading, ScriptedServer, mail, reading, server, short_pauses

__all__ = ["reading", "server", "short_pauses"]  # fixtures


async def test_throttling_is_obeyed(server: ScriptedServer, reading: Reading) -> None:
    server.messages, server.uidnext = {1: mail(1)}, 2
    server.login_answers = ["NO User is throttled. Suggested Backoff Time: 1500 milliseconds"]
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 1)
    assert server.logins[1] - server.logins[0] >= 1.5
    assert SourceState.UNREACHABLE in reading.states
    assert SourceState.LOGIN_FAILED not in reading.states


async def test_a_login_server_in_trouble_is_no_wrong_password(server: ScriptedServer, reading: Reading) -> None:
    server.messages, server.uidnext = {1: mail(1)}, 2
    server.login_answers = ["NO [UNAVAILABLE] Temporary authentication failure."] * 2
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 1)
    assert SourceState.LOGIN_FAILED not in reading.states


@pytest.mark.parametrize("how", ["refused", "silent"])
async def test_a_message_that_is_not_given_becomes_a_note_and_stops_no_other(
    server: ScriptedServer, reading: Reading, how: str
) -> None:
    server.messages, server.uidnext = {uid: mail(uid) for uid in range(1, 6)}, 6
    setattr(server, how, {3})
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 5)
    assert [(uid, bool(problem)) for uid, problem in await reading.archived()] == [
        (1, False),
        (2, False),
        (3, True),
        (4, False),
        (5, False),
    ]


async def test_a_message_given_at_last_is_archived(server: ScriptedServer, reading: Reading) -> None:
    server.messages, server.uidnext, server.refused = {1: mail(1), 2: mail(2)}, 3, {1}
    reading.mailbox.start()
    async with asyncio.timeout(10):
        while SourceState.UNREACHABLE not in reading.states:  # noqa: ASYNC110 - told from another thread
            await asyncio.sleep(0.001)
    server.refused = set()
    await reading.until(lambda found: [uid for uid, _ in found] == [1, 2])
    assert all(not problem for _, problem in await reading.archived())


async def test_a_server_that_tells_neither_uidnext_nor_uidvalidity(server: ScriptedServer, reading: Reading) -> None:
    """Its UIDs hold for one connection; the same UID later is another message, the same message is no new one."""
    server.messages, server.uidvalidity = {1: mail(1), 2: mail(2)}, None
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 2)
    server.messages = {1: mail(2), 2: mail(3), 3: mail(4)}
    await reading.until(lambda found: len(found) >= 3)
    await reading.mailbox.stop()
    again = Mailbox(
        reading.mailbox._settings, reading.mailbox._intake, reading.mailbox._store, on_state=lambda *_: None
    )
    again.start()
    await reading.until(lambda found: len(found) == 4)
    await again.stop()
    assert len(await reading.archived()) == 4


async def test_uids_that_start_again_lose_nothing(server: ScriptedServer, reading: Reading) -> None:
    """A server restored from a backup gives used UIDs to new mail without a new UIDVALIDITY."""
    server.messages, server.uidnext = {uid: mail(uid) for uid in range(1, 6)}, 6
    reading.mailbox.start()
    await reading.until(lambda found: len(found) == 5)
    server.messages, server.uidnext = {1: mail(1), 2: mail(20), 3: mail(30)}, 4
    await reading.until(lambda found: len(found) == 7)
    assert [uid for uid, _ in await reading.archived()] == [1, 2, 2, 3, 3, 4, 5]
