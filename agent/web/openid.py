"""What is said to an OpenID Connect provider, and what of its answers is believed: authorization code with PKCE
(OpenID Connect Core 1.0 section 3.1, RFC 7636), discovery, and keys that may change at any time.

The only file that knows PyJWT. Everything that the provider sends is bounded and hostile until its signature is
checked under a key of its own and an algorithm of ours.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import jwt
import structlog

from agent.errors import CardlineError, Misconfigured, Unavailable, connection_words
from agent.settings_oidc import OidcSettings

log = structlog.get_logger()

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
"""Of signatures by a key of the provider only: never ``none``, never a secret shared with it (RFC 8725 section 3.1)."""
_SECONDS = 10
_LARGEST = 1024 * 1024
_KEEP_SECONDS = 3600.0  # discovery
_ASK_AGAIN_SECONDS = 10.0  # for keys, at a key that is not known
_LEEWAY = 60  # seconds that the clocks may differ
_LOCAL = ("localhost", "127.0.0.1", "::1")


class ProviderRefused(CardlineError):
    """The provider's answer is not what it should be, so nobody is let in by it."""

    remedy = "Log in again; if that does not help, compare the section [web.oidc] with the provider's settings."


class ProviderAway(Unavailable):
    """The provider does not answer."""

    remedy = "Log in by password meanwhile, or try again later."


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was sent along with a browser and has to come back: kept in a cookie of that browser."""

    state: str
    nonce: str
    verifier: str
    target: str

    @classmethod
    def new(cls, target: str) -> Asked:
        """Fresh random values."""
        return cls(
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            verifier=secrets.token_urlsafe(48),
            target=target,
        )

    def to_cookie(self) -> str:
        """For the browser that was sent."""
        content = json.dumps([self.state, self.nonce, self.verifier, self.target]).encode()
        return base64.urlsafe_b64encode(content).decode().rstrip("=")

    @classmethod
    def from_cookie(cls, text: str) -> Asked | None:
        """The other way round; None when it is none of ours."""
        try:
            found = json.loads(base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)))
            state, nonce, verifier, target = found
        except (ValueError, TypeError):
            return None
        if not all(isinstance(one, str) and one for one in (state, nonce, verifier, target)):
            return None
        return cls(state=state, nonce=nonce, verifier=verifier, target=target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whom the provider vouches for. ``subject`` is his for good; ``login`` and ``name`` may change."""

    subject: str
    login: str
    name: str
    email: str
    groups: frozenset[str]


class Provider:
    """One OpenID Connect provider."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._known: dict[str, str] = {}
        self._known_at = 0.0
        self._keys: dict[str, jwt.PyJWK] = {}
        self._asked_at = 0.0
        self._turn = asyncio.Lock()

    async def address(self, asked: Asked, back: str) -> str:
        """Where to send the browser; it comes ``back``."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(asked.verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": back,
            "scope": " ".join(self._settings.scopes),
            "state": asked.state,
            "nonce": asked.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        endpoint = (await self._discover())["authorization_endpoint"]
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def find_person(self, asked: Asked, code: str, back: str) -> Person:
        """Whom the code stands for.

        Raises:
            ProviderRefused: the answer is not for us, not of now, or not signed by the provider.
            ProviderAway: there is none.
        """
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back}
        form |= {"client_id": self._settings.client_id, "code_verifier": asked.verifier}
        secret, headers = self._settings.client_secret.get_secret_value(), {}
        if secret:  # RFC 6749 section 2.3.1: both are form-encoded first
            name = quote(self._settings.client_id, safe="")
            headers["Authorization"] = aiohttp.encode_basic_auth(name, quote(secret, safe=""))
        answer = await self._fetch("POST", (await self._discover())["token_endpoint"], data=form, headers=headers)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise ProviderRefused("The provider gave no id token.")
        return self._person(await self._claims(token, asked.nonce))

    async def _claims(self, token: str, nonce: str) -> Mapping[str, Any]:
        try:
            key = await self._key(str(jwt.get_unverified_header(token).get("kid", "")))
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key=key,
                algorithms=list(ALGORITHMS),
                audience=self._settings.client_id,
                issuer=self._settings.issuer,
                leeway=_LEEWAY,
                options={"require": ["exp", "iat", "aud", "iss", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise ProviderRefused(f"The id token is not accepted: {error}.") from None
        if not secrets.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise ProviderRefused("The id token answers another request.")
        audience = claims["aud"]
        if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != self._settings.client_id:
            raise ProviderRefused("The id token was made for another application.")
        return claims

    def _person(self, claims: Mapping[str, Any]) -> Person:
        def text(name: str) -> str:
            found = claims.get(name)
            return " ".join(found.replace("\0", "").split())[:200] if isinstance(found, str) else ""

        email = text("email").casefold() if claims.get("email_verified") is True else ""
        groups = claims.get(self._settings.groups_claim)
        named = groups if isinstance(groups, list) else [groups]
        login = text("preferred_username") or email or text("sub")
        return Person(
            subject=f"{self._settings.issuer} {claims['sub']}"[:500],
            login=login,
            name=text("name") or login,
            email=email,
            groups=frozenset(one for one in named if isinstance(one, str)),
        )

    async def _key(self, kid: str) -> jwt.PyJWK:
        """The key of this name; asked for anew where it is not known, for providers change their keys."""
        async with self._turn:
            if kid not in self._keys and time.monotonic() - self._asked_at > _ASK_AGAIN_SECONDS:
                found = await self._fetch("GET", (await self._discover())["jwks_uri"])
                self._asked_at = time.monotonic()
                self._keys = _read_keys(found)
        if kid in self._keys:
            return self._keys[kid]
        if not kid and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        raise ProviderRefused("The id token is signed by a key that the provider does not name.")

    async def _discover(self) -> Mapping[str, str]:
        if self._known and time.monotonic() - self._known_at < _KEEP_SECONDS:
            return self._known
        found = await self._fetch("GET", f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self._settings.issuer:  # OpenID Connect Discovery 1.0 section 4.3
            raise Misconfigured(
                f"The provider calls itself {str(found.get('issuer'))[:200]}.",
                remedy="Write web.oidc.issuer exactly as the provider does.",
            )
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        self._known = {name: _checked(found.get(name)) for name in names}
        self._known_at = time.monotonic()
        return self._known

    async def _fetch(self, method: str, url: str, **more: Any) -> Mapping[str, Any]:
        """A JSON object, of a bounded size, in a bounded time."""
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers={"Accept": "application/json"}) as session,
                session.request(method, url, allow_redirects=False, **more) as answer,
            ):
                content = await answer.content.read(_LARGEST)
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ProviderAway(f"The login provider does not answer: {connection_words(error)}.") from error
        if status >= 500:
            raise ProviderAway(f"The login provider answers {status}.")
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if status != 200 or not isinstance(found, dict):
            said = found.get("error") if isinstance(found, dict) else ""
            raise ProviderRefused(f"The login provider answers {status} {str(said)[:100]}.".replace(" .", "."))
        return found


def _read_keys(found: Mapping[str, Any]) -> dict[str, jwt.PyJWK]:
    """Keys for signatures by their names; those that are not understood are of no use, and no reason to stop."""
    keys: dict[str, jwt.PyJWK] = {}
    listed = found.get("keys")
    for one in listed[:100] if isinstance(listed, list) else []:
        if not isinstance(one, dict) or one.get("use", "sig") != "sig" or one.get("kty") == "oct":
            continue
        try:
            keys[str(one.get("kid", ""))] = jwt.PyJWK.from_dict(one)
        except (jwt.PyJWTError, ValueError, TypeError):
            log.warning("login_provider_key_not_understood")
    return keys


def _checked(url: object) -> str:
    """An address that the provider names, over HTTPS but for one of this machine."""
    found = urlsplit(url) if isinstance(url, str) else None
    is_local = found is not None and found.scheme == "http" and found.hostname in _LOCAL
    if found is None or not (is_local or (found.scheme == "https" and found.hostname)):
        raise ProviderRefused("The login provider names an address that is not https.")
    return found.geturl()
