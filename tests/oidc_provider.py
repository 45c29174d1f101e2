"""A small OpenID Connect provider for tests: real signatures, PKCE and client secret checked, and ways to lie."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT, SECRET = "cardline", "a secret: of the client"


class OidcProvider:
    """Listens on a free port of this machine. ``lies`` are put over the claims of the next id token."""

    def __init__(self) -> None:
        self.issuer = ""
        self.lies: dict[str, Any] = {}
        self.algorithm = "RS256"
        self.announced = True
        self.asked_for_keys = 0
        self._codes: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self._runner: web.AppRunner | None = None
        self.rotate()

    def rotate(self, *, announced: bool = True) -> None:
        """Another key, with another name; told to whoever asks unless not ``announced``."""
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.kid = secrets.token_hex(4)
        if announced:
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
            self.jwks = {
                "keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "x"}, {**public, "kid": self.kid, "use": "sig"}]
            }

    async def start(self) -> None:
        """Serve."""
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/keys", self._keys)
        app.router.add_post("/token", self._token)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.issuer = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """No more."""
        if self._runner is not None:
            await self._runner.cleanup()

    def log_in(self, address: str, **claims: Any) -> str:
        """What the provider does when somebody logs in there: the query with which the browser goes back."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self._codes[code] = (asked, claims)
        return f"code={code}&state={asked['state']}"

    async def _discovery(self, request: web.Request) -> web.Response:
        named = {"authorization_endpoint": "auth", "token_endpoint": "token", "jwks_uri": "keys"}
        return web.json_response(
            {"issuer": self.issuer} | {name: f"{self.issuer}/{one}" for name, one in named.items()}
        )

    async def _keys(self, request: web.Request) -> web.Response:
        self.asked_for_keys += 1
        return web.json_response(self.jwks)

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        expected = base64.b64encode(f"{CLIENT}:a%20secret%3A%20of%20the%20client".encode()).decode()
        known = self._codes.pop(str(form.get("code", "")), None)
        digest = hashlib.sha256(str(form.get("code_verifier", "")).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if request.headers.get("Authorization") != f"Basic {expected}" or known is None:
            return web.json_response({"error": "invalid_client"}, status=401)
        asked, claims = known
        if challenge != asked["code_challenge"] or form.get("redirect_uri") != asked["redirect_uri"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response({"id_token": self._sign(asked, claims), "token_type": "Bearer", "access_token": "x"})

    def _sign(self, asked: dict[str, str], claims: dict[str, Any]) -> str:
        now = int(time.time())
        content = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        content |= claims | self.lies
        content = {name: value for name, value in content.items() if value is not None}
        key: Any = self.key if self.algorithm.startswith("RS") else None
        if self.algorithm.startswith("HS"):
            key = "public key as a secret, thirty-two bytes long"
        return jwt.encode(content, key, algorithm=self.algorithm, headers={"kid": self.kid})
