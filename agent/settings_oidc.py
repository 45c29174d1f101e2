"""Settings of the other login: an OpenID Connect provider that knows who works here."""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from agent.settings_base import Section

_LOCAL = ("localhost", "127.0.0.1", "::1")
_ROLES = ("administrator", "supervisor", "manager")


class OidcSettings(Section):
    """An OpenID Connect provider, such as Keycloak; without an issuer people log in by password only."""

    issuer: str = Field("", description="Issuer as the provider writes it, https://…; empty: no such login.")
    client_id: str = Field("", description="Id of Cardline at the provider.")
    client_secret: SecretStr = Field(SecretStr(""), description="Its secret; empty for a public client.")
    label: str = Field("", description="What the button of the login page says; empty: a neutral text.")
    scopes: tuple[str, ...] = Field(("openid", "profile", "email"), description="Scopes that are asked for.")
    groups_claim: str = Field("groups", description="Claim of the id token that lists somebody's groups.")
    roles: dict[str, Literal["administrator", "supervisor", "manager"]] = Field(
        {}, description="Group = role; the highest counts, and whoever has none may not log in."
    )
    teams: dict[str, str] = Field(
        {}, description="Group = team whose supervisor, or whose member, somebody in it is; names of teams."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.issuer:
            return self
        address = urlsplit(self.issuer)
        if address.scheme != "https" and not (address.scheme == "http" and address.hostname in _LOCAL):
            raise ValueError("issuer: it must begin with https://")
        if not self.client_id:
            raise ValueError("client_id: it must be given")
        if not self.roles:
            raise ValueError("roles: name at least one group, or nobody may log in")
        if "openid" not in self.scopes:
            raise ValueError("scopes: openid must be among them")
        return self
