"""[seal]: how often the chain is sealed, and where the seals go that nobody here can change any more."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from agent.settings_base import Port, Section

_BUCKETS = ("s3://", "gs://", "az://")


class SealSettings(Section):
    """Seals of the chain: a proof against everybody, the administrator included, once they lie elsewhere."""

    enabled: bool = Field(True, description="Seal the chain once a day; off on all hosts but one.")
    every_links: int = Field(10_000, ge=1, description="Links after which a seal does not wait for the day to end.")
    mail_to: str = Field("", description="Address that each seal is mailed to, best with somebody else; empty: none.")
    mail_from: str = Field("", description="Sender of these mails; empty: the same address.")
    smtp_host: str = Field("127.0.0.1", description="Mail server that takes them.")
    smtp_port: Port = Field(25, description="Its port.")
    smtp_tls: Literal["none", "starttls", "tls"] = Field(
        "starttls", description="starttls, tls (from the first byte), or none for a server on this machine."
    )
    smtp_user: str = Field("", description="Login there; empty: none is needed.")
    smtp_password: SecretStr = Field(SecretStr(""), description="Password of this login.")
    timestamp_url: str = Field("", description="RFC 3161 timestamp authority, https://…; empty: none.")
    timestamp_ca: Path | None = Field(
        None, description="PEM file of its certificates; empty: tokens are kept unchecked."
    )
    bucket: str = Field("", description="s3://, gs:// or az:// bucket and prefix with a write-once rule; empty: none.")
    reread_days: int = Field(30, ge=1, description="Days within which every stored blob is re-read and proved.")
    reread_megabytes: float = Field(20, gt=0, description="Megabytes a second that re-reading may take at most.")

    @field_validator("bucket")
    @classmethod
    def _known_bucket(cls, value: str) -> str:
        if value and not value.startswith(_BUCKETS):
            raise ValueError(f"it must begin with {', '.join(_BUCKETS)}")
        return value

    @field_validator("timestamp_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("it must begin with https:// or http://")
        return value

    @field_validator("mail_to", "mail_from")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if value and ("@" not in value or any(one.isspace() for one in value)):
            raise ValueError("it must be one address")
        return value

    @property
    def targets(self) -> tuple[str, ...]:
        """The places that are configured, by the names their copies have."""
        places = {"mail": self.mail_to, "timestamp": self.timestamp_url, "bucket": self.bucket}
        return tuple(name for name, place in places.items() if place)
