"""Access tokens for mailboxes that take no password: Gmail and Microsoft 365.

Google: the flow of installed applications with a loopback redirect and PKCE (RFC 8252, RFC 7636;
developers.google.com/identity/protocols/oauth2/native-app). Its device flow does not give the scope of mail. Microsoft:
msal, by device code, or with the application's own secret where an administrator has allowed it
(learn.microsoft.com/exchange/client-developer/legacy-protocols).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from agent.errors import MailboxAuthFailed, MailboxUnreachable, connection_words
from agent.mail.imap.tokens import TokenStore
from agent.settings import MailboxSettings

if TYPE_CHECKING:
    from agent.mail.imap.session import Token

log = structlog.get_logger()

_GOOGLE_SCOPE = "https://mail.google.com/"
_MICROSOFT_SCOPE = "https://outlook.office.com/IMAP.AccessAsUser.All"
_MICROSOFT_APPLICATION_SCOPE = "https://outlook.office365.com/.default"
_EARLY = 120.0  # seconds before its end in which a token is renewed already
_HTTP_SECONDS = 20
_LONGEST_ANSWER = 256 * 1024
_REFUSED = ("invalid_grant", "invalid_client", "unauthorized_client", "interaction_required", "access_denied")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where tokens are got. ``http_client`` is handed to msal; tests put a server of their own in its place."""

    google_consent: str = "https://accounts.google.com/o/oauth2/v2/auth"
    google_token: str = "https://oauth2.googleapis.com/token"  # noqa: S105
    microsoft: str = "https://login.microsoftonline.com"
    http_client: Any = None


class Logins:
    """Gets tokens and renews them. All methods block; threads of several mailboxes may call them at once."""

    def __init__(self, tokens: TokenStore, endpoints: Endpoints | None = None) -> None:
        self._tokens = tokens
        self._endpoints = endpoints or Endpoints()
        self._lock = threading.Lock()
        self._valid: dict[str, tuple[str, float]] = {}

    def source(self, settings: MailboxSettings) -> Token | None:
        """What a session asks for a token; None for a mailbox with a password."""
        return None if settings.auth == "password" else partial(self.access_token, settings)

    def forget(self, mailbox: str) -> None:
        """There is a new login: get a token by that next time."""
        with self._lock:
            self._valid.pop(mailbox, None)

    def access_token(self, settings: MailboxSettings, *, refused: str = "") -> str:
        """A token that is valid now, and another than ``refused``.

        Raises:
            MailboxAuthFailed: nobody has logged in, or the login was withdrawn.
            MailboxUnreachable: the provider's login service does not answer.
        """
        with self._lock:
            token, end = self._valid.get(settings.name, ("", 0.0))
            if time.monotonic() < end - _EARLY and token != refused:
                return token
            token, seconds = self._renew(settings, is_refused=bool(refused))
            self._valid[settings.name] = (token, time.monotonic() + seconds)
            return token

    def _renew(self, settings: MailboxSettings, *, is_refused: bool) -> tuple[str, float]:
        if settings.auth == "google":
            kept = self._tokens.load(settings.name)
            return _token(settings, self._ask_google(settings, _refreshing(settings, kept)))
        if settings.auth == "microsoft-application":
            return _token(
                settings,
                _say(
                    lambda: _confidential(settings, self._endpoints).acquire_token_for_client(
                        [_MICROSOFT_APPLICATION_SCOPE]
                    )
                ),
            )
        return self._renew_microsoft(settings, is_refused=is_refused)

    # --- Google -----------------------------------------------------------------------------------------------------

    def google_consent(self, settings: MailboxSettings, redirect: str) -> tuple[str, str, str]:
        """The address where a person consents, the state that must come back, and the verifier for `google_login`."""
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "client_id": settings.client_id,
            "redirect_uri": redirect,
            "response_type": "code",
            "scope": _GOOGLE_SCOPE,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "state": state,
            "access_type": "offline",
            "prompt": "consent",
            "login_hint": settings.user,
        }
        return f"{self._endpoints.google_consent}?{urllib.parse.urlencode(asked)}", state, verifier

    def google_login(self, settings: MailboxSettings, redirect: str, code: str, verifier: str) -> None:
        """Turn the code that came back into a login that is kept."""
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": redirect,
            "client_id": settings.client_id,
            "client_secret": settings.client_secret.get_secret_value(),
        }
        answer = self._ask_google(settings, fields)
        _token(settings, answer)
        if not answer.get("refresh_token"):
            raise MailboxAuthFailed(
                f"Google gave no lasting login for {settings.user}.",
                remedy="Remove Cardline at myaccount.google.com/permissions and run `cardline mailbox login` again.",
            )
        self._tokens.save(settings.name, {"refresh_token": answer["refresh_token"]})
        self.forget(settings.name)

    def _ask_google(self, settings: MailboxSettings, fields: Mapping[str, str]) -> dict[str, Any]:
        body = urllib.parse.urlencode(fields).encode()
        request = urllib.request.Request(self._endpoints.google_token, body)  # noqa: S310 - an address of ours
        try:
            with urllib.request.urlopen(request, timeout=_HTTP_SECONDS) as answer:  # noqa: S310
                return _object(answer.read(_LONGEST_ANSWER))
        except urllib.error.HTTPError as error:
            said = _object(error.read(_LONGEST_ANSWER))
            if error.code >= 500 or error.code == 429:
                raise MailboxUnreachable(f"Google's login service answers {error.code}.") from error
            raise _refusal(settings, said) from error
        except OSError as error:
            raise MailboxUnreachable(f"Google's login service cannot be reached: {error}.") from error

    # --- Microsoft --------------------------------------------------------------------------------------------------

    def microsoft_login(self, settings: MailboxSettings, show: Callable[[str], None]) -> None:
        """Show a person where to type which code, wait until that is done, and keep the login."""
        cache = _cache("")
        app = _public(settings, self._endpoints, cache)
        flow = _say(lambda: app.initiate_device_flow([_MICROSOFT_SCOPE]))
        if "user_code" not in flow:
            raise _refusal(settings, flow)
        show(str(flow["message"]))
        _token(settings, _say(lambda: app.acquire_token_by_device_flow(flow)))
        self._tokens.save(settings.name, {"cache": cache.serialize()})
        self.forget(settings.name)

    def _renew_microsoft(self, settings: MailboxSettings, *, is_refused: bool) -> tuple[str, float]:
        """msal keeps tokens itself, and would give the refused one again."""
        cache = _cache(str(self._tokens.load(settings.name).get("cache", "")))
        app = _public(settings, self._endpoints, cache)
        accounts = app.get_accounts()
        answer = _say(
            lambda: app.acquire_token_silent_with_error(
                [_MICROSOFT_SCOPE], accounts[0] if accounts else None, force_refresh=is_refused
            )
        )
        if cache.has_state_changed:
            self._tokens.save(settings.name, {"cache": cache.serialize()})
        return _token(settings, answer)


def _refreshing(settings: MailboxSettings, kept: Mapping[str, Any]) -> dict[str, str]:
    return {
        "grant_type": "refresh_token",
        "refresh_token": str(kept.get("refresh_token", "")),
        "client_id": settings.client_id,
        "client_secret": settings.client_secret.get_secret_value(),
    }


def _token(settings: MailboxSettings, answer: Mapping[str, Any] | None) -> tuple[str, float]:
    """The token of an answer, and the seconds it lives."""
    if not answer or "access_token" not in answer:
        raise _refusal(settings, answer or {})
    return str(answer["access_token"]), float(answer.get("expires_in", 0))


def _refusal(settings: MailboxSettings, said: Mapping[str, Any]) -> MailboxAuthFailed | MailboxUnreachable:
    """Codes of RFC 6749 (5.2); the provider's own words can quote secrets and are left out but for the first line."""
    code = str(said.get("error", "no token"))[:60]
    words = (str(said.get("error_description", "")).splitlines() or [""])[0][:200]
    what = f"The provider refuses the login of {settings.user}: {code}{f' ({words})' if words else ''}."
    if code in ("temporarily_unavailable", "server_error", "request_timeout"):
        return MailboxUnreachable(what)
    return MailboxAuthFailed(what, remedy=f"Run `cardline mailbox login {settings.name}`.")


def _object(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _cache(kept: str) -> Any:
    import msal

    cache = msal.SerializableTokenCache()
    if kept:
        cache.deserialize(kept)
    return cache


def _public(settings: MailboxSettings, endpoints: Endpoints, cache: Any) -> Any:
    import msal

    return _say(
        lambda: msal.PublicClientApplication(
            settings.client_id,
            authority=f"{endpoints.microsoft}/{settings.tenant}",
            token_cache=cache,
            http_client=endpoints.http_client,
            instance_discovery=False,
            timeout=_HTTP_SECONDS,
        )
    )


def _confidential(settings: MailboxSettings, endpoints: Endpoints) -> Any:
    import msal

    return msal.ConfidentialClientApplication(
        settings.client_id,
        client_credential=settings.client_secret.get_secret_value(),
        authority=f"{endpoints.microsoft}/{settings.tenant}",
        http_client=endpoints.http_client,
        instance_discovery=False,
        timeout=_HTTP_SECONDS,
    )


def _say(ask: Callable[[], Any]) -> Any:
    """What msal answers; it lets the errors of its HTTP library through, and takes nonsense for a bad authority."""
    try:
        return ask()
    except (OSError, ValueError, RuntimeError) as error:
        raise MailboxUnreachable(f"Microsoft's login service cannot be reached: {connection_words(error)}.") from error
