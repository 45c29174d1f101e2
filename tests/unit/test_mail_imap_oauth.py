"""Logins with tokens: got, kept, renewed, refused, at an OAuth server of our own."""

from __future__ import annotations

import base64
import json
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.archive.keys import KeyRing
from agent.errors import MailboxAuthFailed, MailboxUnreachable
from agent.mail.imap import oauth
from agent.mail.imap.consent import Loopback, code_in
from agent.mail.imap.oauth import Endpoints, Logins
from agent.mail.imap.tokens import TokenStore
from agent.settings import MailboxSettings
from tests.unit.oauth_lab import OAuthServer, Rerouted

SECRET = "refresh-secret-1"


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with OAuthServer() as one:
        yield one


@pytest.fixture
def tokens(tmp_path: Path) -> TokenStore:
    return TokenStore(tmp_path / "tokens", KeyRing.open_or_create(tmp_path / "keys"))


@pytest.fixture
def logins(server: OAuthServer, tokens: TokenStore) -> Logins:
    endpoints = Endpoints(google_token=f"{server.url}/token", http_client=Rerouted(server))
    return Logins(tokens, endpoints)


def mailbox(auth: str, **changes: Any) -> MailboxSettings:
    given = {
        "name": "anna",
        "host": "imap.example.com",
        "user": "anna@example.com",
        "auth": auth,
        "client_id": "client",
    }
    return MailboxSettings.model_validate(given | changes)


# --- Google ---------------------------------------------------------------------------------------------------------


def test_consent_is_asked_with_a_challenge_and_comes_back_on_loopback(logins: Logins, server: OAuthServer) -> None:
    server.answers["/token"] = [(200, {"access_token": "a1", "expires_in": 3600, "refresh_token": SECRET})]
    with Loopback() as loopback:
        address, state, verifier = logins.google_consent(mailbox("google"), loopback.address)
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address).query))
        assert asked["redirect_uri"] == loopback.address
        assert asked["code_challenge_method"] == "S256"
        assert verifier not in address

        def browse() -> None:
            for back in ("favicon.ico", "?code=stolen&state=other", f"?code=c1&state={state}"):
                urllib.request.urlopen(loopback.address + back, timeout=5).read()

        browser = threading.Thread(target=browse, daemon=True)
        browser.start()
        assert loopback.wait(state, 10) == "c1"
        logins.google_login(mailbox("google"), loopback.address, "c1", verifier)
    (sent,) = server.fields("/token")
    assert (sent["code"], sent["code_verifier"]) == ("c1", verifier)


def test_consent_refused_or_not_given() -> None:
    with pytest.raises(MailboxAuthFailed, match="access_denied"):
        code_in("/?error=access_denied&state=s", "s")
    assert code_in("/?code=c&state=other", "s") is None
    assert code_in("https://127.0.0.1:1/?state=s&code=4%2Fx", "s") == "4/x"
    with Loopback() as loopback, pytest.raises(MailboxAuthFailed, match="Nobody consented"):
        loopback.wait("s", 0.01)


def test_a_token_is_renewed_when_it_ends_and_not_before(
    logins: Logins, server: OAuthServer, tokens: TokenStore
) -> None:
    tokens.save("anna", {"refresh_token": SECRET})
    short, long = ({"access_token": name, "expires_in": seconds} for name, seconds in (("a1", 60), ("a2", 3600)))
    server.answers["/token"] = [(200, short), (200, long)]
    found = [logins.access_token(mailbox("google")) for _ in range(4)]
    assert found == ["a1", "a2", "a2", "a2"]  # one that ends within two minutes is not used again
    assert {one["refresh_token"] for one in server.fields("/token")} == {SECRET}


def test_a_login_withdrawn_names_the_command(logins: Logins, server: OAuthServer, tokens: TokenStore) -> None:
    tokens.save("anna", {"refresh_token": SECRET})
    server.answers["/token"] = [(400, {"error": "invalid_grant", "error_description": "Token has been revoked.\nx"})]
    with pytest.raises(MailboxAuthFailed, match=r"invalid_grant.*revoked.*cardline mailbox login anna") as told:
        logins.access_token(mailbox("google"))
    assert SECRET not in str(told.value)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_login_service_in_trouble_is_no_refused_login(
    logins: Logins, server: OAuthServer, tokens: TokenStore, status: int
) -> None:
    tokens.save("anna", {"refresh_token": SECRET})
    server.answers["/token"] = [(status, {})]
    with pytest.raises(MailboxUnreachable):
        logins.access_token(mailbox("google"))


def test_a_login_service_that_is_away(tokens: TokenStore) -> None:
    tokens.save("anna", {"refresh_token": SECRET})
    with pytest.raises(MailboxUnreachable, match="cannot be reached"):
        Logins(tokens, Endpoints(google_token="http://127.0.0.1:1/token")).access_token(mailbox("google"))


def test_an_answer_without_a_lasting_login_is_said(logins: Logins, server: OAuthServer) -> None:
    server.answers["/token"] = [(200, {"access_token": "a1", "expires_in": 3600})]
    with pytest.raises(MailboxAuthFailed, match="no lasting login"):
        logins.google_login(mailbox("google"), "http://127.0.0.1/", "c", "v")


def test_nonsense_instead_of_a_token(logins: Logins, server: OAuthServer, tokens: TokenStore) -> None:
    tokens.save("anna", {"refresh_token": SECRET})
    server.answers["/token"] = [(200, {"html": "<p>Sign in to the hotel's network"})]
    with pytest.raises(MailboxAuthFailed, match="no token"):
        logins.access_token(mailbox("google"))


# --- Microsoft ------------------------------------------------------------------------------------------------------


def _microsoft(server: OAuthServer, tenant: str = "organizations") -> str:
    base = f"/{tenant}/oauth2/v2.0"
    server.answers[f"/{tenant}/v2.0/.well-known/openid-configuration"] = [
        (
            200,
            {
                "authorization_endpoint": f"https://login.microsoftonline.com{base}/authorize",
                "token_endpoint": f"https://login.microsoftonline.com{base}/token",
                "device_authorization_endpoint": f"https://login.microsoftonline.com{base}/devicecode",
                "issuer": f"https://login.microsoftonline.com/{tenant}/v2.0",
            },
        )
    ]
    server.answers[f"{base}/devicecode"] = [
        (
            200,
            {"device_code": "d", "user_code": "ABC", "verification_uri": "https://microsoft.com/devicelogin"}
            | {"expires_in": 900, "interval": 0, "message": "Open the page and type ABC"},
        )
    ]
    return base


def _granted(access: str, refresh: str) -> tuple[int, dict[str, Any]]:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims: dict[str, object] = {
        "aud": "client",
        "iss": "https://login.microsoftonline.com/t/v2.0",
        "sub": "s",
        "oid": "o",
        "tid": "t",
    }
    claims |= {"preferred_username": "anna@example.com", "exp": 4102444800, "iat": 1, "nbf": 1}
    info = part({"uid": "o", "utid": "t"})
    return 200, {
        "access_token": access,
        "refresh_token": refresh,
        "id_token": f"{part({'alg': 'none'})}.{part(claims)}.",
        "client_info": info,
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": oauth._MICROSOFT_SCOPE,
    }


def test_device_code_login_is_shown_kept_and_outlives_a_restart(
    logins: Logins, server: OAuthServer, tokens: TokenStore
) -> None:
    base = _microsoft(server)
    server.answers[f"{base}/token"] = [_granted("m1", SECRET)]
    shown: list[str] = []
    logins.microsoft_login(mailbox("microsoft"), shown.append)
    assert shown == ["Open the page and type ABC"]
    again = Logins(tokens, Endpoints(http_client=Rerouted(server)))
    assert again.access_token(mailbox("microsoft")) == "m1"


def test_a_refresh_token_that_microsoft_replaces_is_kept(
    logins: Logins, server: OAuthServer, tokens: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = _microsoft(server)
    status, first = _granted("m1", "r1")
    server.answers[f"{base}/token"] = [(status, first | {"expires_in": 1}), _granted("m2", "r2")]
    logins.microsoft_login(mailbox("microsoft"), lambda _: None)
    assert logins.access_token(mailbox("microsoft")) == "m2"
    assert server.fields(f"{base}/token")[-1]["refresh_token"] == "r1"
    assert "r2" in str(tokens.load("anna"))


def test_a_token_that_was_refused_is_not_given_again(logins: Logins, server: OAuthServer, tokens: TokenStore) -> None:
    tokens.save("anna", {"refresh_token": SECRET})
    server.answers["/token"] = [(200, {"access_token": name, "expires_in": 3600}) for name in ("g1", "g2", "g3")]
    source = logins.source(mailbox("google"))
    assert source is not None
    assert (source(), source(refused="g1"), source(refused="g1"), source()) == ("g1", "g2", "g2", "g2")


def test_microsoft_is_asked_for_another_token_than_the_refused(
    logins: Logins, server: OAuthServer, tokens: TokenStore
) -> None:
    base = _microsoft(server)
    server.answers[f"{base}/token"] = [_granted("m1", "r1"), _granted("m2", "r2")]
    logins.microsoft_login(mailbox("microsoft"), lambda _: None)
    assert logins.access_token(mailbox("microsoft")) == "m1"
    assert logins.access_token(mailbox("microsoft"), refused="m1") == "m2"


def test_an_application_logs_in_by_its_own_secret(logins: Logins, server: OAuthServer) -> None:
    base = _microsoft(server, "example.com")
    server.answers[f"{base}/token"] = [(200, {"access_token": "app", "token_type": "Bearer", "expires_in": 3600})]
    one = mailbox("microsoft-application", tenant="example.com", client_secret="s3")
    assert logins.access_token(one) == "app"
    (sent,) = server.fields(f"{base}/token")
    assert (sent["grant_type"], sent["scope"]) == ("client_credentials", oauth._MICROSOFT_APPLICATION_SCOPE)


def test_an_application_that_may_not_is_told_so(logins: Logins, server: OAuthServer) -> None:
    base = _microsoft(server)
    server.answers[f"{base}/token"] = [(401, {"error": "invalid_client", "error_description": "AADSTS7000215: wrong"})]
    with pytest.raises(MailboxAuthFailed, match="AADSTS7000215"):
        logins.access_token(mailbox("microsoft-application", client_secret="s3"))


# --- Keeping --------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_unreadable_without_the_master_key(tmp_path: Path, tokens: TokenStore) -> None:
    tokens.save("anna", {"refresh_token": SECRET})
    (file,) = (tmp_path / "tokens").iterdir()
    assert SECRET.encode() not in file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    other = TokenStore(tmp_path / "tokens", KeyRing.open_or_create(tmp_path / "other keys"))
    with pytest.raises(MailboxAuthFailed, match="cannot be read"):
        other.load("anna")


def test_a_login_of_another_mailbox_or_a_damaged_one_does_not_open(tmp_path: Path, tokens: TokenStore) -> None:
    tokens.save("anna", {"refresh_token": SECRET})
    tokens.save("boris", {"refresh_token": "other"})
    tokens._path("boris").write_bytes(tokens._path("anna").read_bytes())
    with pytest.raises(MailboxAuthFailed, match="cannot be read"):
        tokens.load("boris")
    tokens._path("anna").write_bytes(b"short")
    with pytest.raises(MailboxAuthFailed, match="cardline mailbox login anna"):
        tokens.load("anna")
    with pytest.raises(MailboxAuthFailed, match="Nobody has logged in"):
        tokens.load("nobody")


def test_saving_again_replaces_and_leaves_nothing_beside(tmp_path: Path, tokens: TokenStore) -> None:
    for number in range(5):
        tokens.save("anna", {"refresh_token": f"r{number}"})
    assert tokens.load("anna") == {"refresh_token": "r4"}
    assert len(list((tmp_path / "tokens").iterdir())) == 1


def test_a_mailbox_with_a_password_needs_no_token(logins: Logins) -> None:
    assert logins.source(mailbox("password", password="p", client_id="")) is None
