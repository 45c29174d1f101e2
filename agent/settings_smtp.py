"""[smtp]: the door for mail that servers and people send here, and who may use it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from agent.settings_base import Networks, Port, Section

_MEGABYTE = 1024 * 1024


def _doors(addresses: tuple[str, ...]) -> tuple[str, ...]:
    for address in addresses:
        local, at, _ = address.partition("@")
        if not local or not at or any(letter.isspace() or letter in "<>," for letter in address):
            raise ValueError(f"{address} is no address; name@domain, or name@ for any domain")
    return tuple(address.lower() for address in addresses)


Doors = Annotated[tuple[str, ...], AfterValidator(_doors)]


class SmtpAccount(Section):
    """Who may send from outside of the allowed networks, after STARTTLS or on the TLS port."""

    user: str = Field(min_length=1, description="Login name.")
    password: SecretStr = Field(description="Password, or its hash as `cardline smtp hash` makes it ($argon2id$…).")

    @field_validator("password")
    @classmethod
    def _some(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value():
            raise ValueError("it must be given")
        return value


class SmtpSettings(Section):
    """The SMTP door for journals, Bcc copies and forwards."""

    enabled: bool = Field(True, description="Listen for mail.")
    listen: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104
    port: Port = Field(2525, description="SMTP port, with STARTTLS where there is a certificate; 0 picks a free one.")
    hostname: str = Field(default_factory=socket.getfqdn, description="Name in the greeting.")
    allow: Networks = Field(
        ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"),
        description="Networks that may deliver mail here without a login; everybody else is refused or must log in.",
    )
    account: tuple[SmtpAccount, ...] = Field((), description="Logins, one [[smtp.account]] table each.")
    journal: Doors = Field(
        (), description="Addresses for journals and copies that mail servers make; name@ stands for any domain."
    )
    drop: Doors = Field((), description="Addresses that people put into Bcc or forward a mail to.")
    teams: dict[str, str] = Field({}, description="Addresses of teams: address = name of the team.")
    catch_all: bool = Field(
        False, description="Take mail for any other address too; where no address is named at all, all is taken."
    )
    tls_port: Port = Field(2465, description="Port for TLS from the first byte; 0 picks a free one.")
    tls_certificate: Path | None = Field(None, description="PEM file of the certificate chain; without it no TLS.")
    tls_key: Path | None = Field(None, description="PEM file of its private key, without a passphrase.")
    require_tls: bool = Field(False, description="Take no mail that did not come encrypted.")
    max_bytes: int = Field(60 * _MEGABYTE, ge=1024, description="Largest message, in bytes.")
    max_connections: int = Field(500, ge=1, description="Connections past which a new one is answered 421.")
    source_connections: int = Field(100, ge=1, description="The same for one sending machine.")
    source_messages: int = Field(
        0, ge=0, description="Messages a minute from one machine, past which it is asked to come later; 0: any number."
    )
    source_megabytes: int = Field(0, ge=0, description="The same in megabytes a minute; 0: any number.")
    source_errors: int = Field(
        300, ge=1, description="Refusals a minute, past which a machine is turned away for the rest of it."
    )
    memory_megabytes: int = Field(
        256, ge=1, description="Messages that are under way at the same time; what is more has to wait or come later."
    )

    @field_validator("teams")
    @classmethod
    def _team_addresses(cls, value: dict[str, str]) -> dict[str, str]:
        return dict(zip(_doors(tuple(value)), value.values(), strict=True))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        if self.tls_certificate is None and (self.account or self.require_tls):
            raise ValueError("account and require_tls need tls_certificate and tls_key")
        if self.memory_megabytes * _MEGABYTE < self.max_bytes:
            raise ValueError("memory_megabytes must have room for one message of max_bytes")
        if len({one.user for one in self.account}) < len(self.account):
            raise ValueError("each account needs a user of its own")
        named = [*self.journal, *self.drop, *self.teams]
        if twice := next((one for one in named if named.count(one) > 1), None):
            raise ValueError(f"{twice} is named twice; an address is one door")
        return self
