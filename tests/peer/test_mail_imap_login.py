"""Logging in to a live Dovecot with an access token (SASL XOAUTH2), which it checks at an OAuth server of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.archive.keys import KeyRing
from agent.mail.imap.oauth import Endpoints, Logins
from agent.mail.imap.tokens import TokenStore
from agent.model import SourceState
from tests.peer.dovecot import USER, Dovecot
from tests.peer.mailbox_lab import Watched, dovecot, messages, short_pauses, until_state, watch
from tests.unit.oauth_lab import OAuthServer

__all__ = ["dovecot", "short_pauses", "watch"]  # fixtures

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with OAuthServer() as one:
        yield one


async def _ask_for_tokens(dovecot: Dovecot, server: OAuthServer) -> None:
    """Passwords go on for the test's own client; tokens are looked up at the OAuth server."""
    rules = dovecot.folder / "oauth2.conf"
    rules.write_text(
        f"introspection_mode = get\nintrospection_url = {server.url}/introspect?token=\n"
        "username_attribute = email\nactive_attribute = active\nactive_value = true\nforce_introspection = yes\n"
    )
    rules.chmod(0o644)
    passdb = f"passdb {{\n  driver = oauth2\n  mechanisms = xoauth2\n  args = {rules}\n}}\npassdb {{\n  driver = static"
    dovecot.changes = (
        "passdb {\n  driver = static",
        passdb,
        "ssl = no",
        "ssl = no\nauth_mechanisms = plain login xoauth2",
    )
    dovecot.kill()
    await dovecot.start()


async def test_a_token_opens_the_mailbox_and_is_renewed(
    dovecot: Dovecot, watch: Callable[..., Watched], server: OAuthServer, tmp_path: Path
) -> None:
    await _ask_for_tokens(dovecot, server)
    received = messages(3)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    server.answers["/introspect"] = [(200, {"active": "true", "email": USER})]
    server.answers["/token"] = [(200, {"access_token": f"a{number}", "expires_in": 1}) for number in range(9)]
    tokens = TokenStore(tmp_path / "tokens", KeyRing.open_or_create(tmp_path / "keys"))
    watched = watch(auth="google", client_id="client", password="")
    tokens.save(watched.settings.name, {"refresh_token": "r"})
    watched.token = Logins(tokens, Endpoints(google_token=f"{server.url}/token")).source(watched.settings)
    await watched.restart()
    try:
        await watched.until_archived(received)
        await watched.restart()
        await until_state(watched, SourceState.RUNNING)
    finally:
        await watched.mailbox.stop()
    assert [one["token"] for one in server.fields("/introspect")][:2] == ["a0", "a1"]


async def test_a_token_taken_back_before_its_end_is_replaced_at_once(
    dovecot: Dovecot, watch: Callable[..., Watched], server: OAuthServer
) -> None:
    await _ask_for_tokens(dovecot, server)
    received = messages(1)
    await asyncio.to_thread(dovecot.append, "INBOX", received)
    server.answers["/introspect"] = [(200, {"active": "false"}), (200, {"active": "true", "email": USER})]
    watched = watch(auth="google", client_id="client", password="")
    asked = []

    def token(*, refused: str = "") -> str:
        asked.append(refused)
        return "renewed" if refused else "taken back"

    watched.token = token
    await watched.restart()
    try:
        await watched.until_archived(received)
    finally:
        await watched.mailbox.stop()
    assert asked[:2] == ["", "taken back"]


async def test_a_token_that_the_server_refuses_is_a_refused_login(
    dovecot: Dovecot, watch: Callable[..., Watched], server: OAuthServer
) -> None:
    await _ask_for_tokens(dovecot, server)
    server.answers["/introspect"] = [(200, {"active": "false"})]
    watched = watch(auth="google", client_id="client", password="")
    watched.token = lambda refused="": "stale"
    await watched.restart()
    try:
        detail = await until_state(watched, SourceState.LOGIN_FAILED)
    finally:
        await watched.mailbox.stop()
    assert "refuses the login" in detail
    assert "stale" not in detail
