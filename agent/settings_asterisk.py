"""The tables `[[asterisk]]`."""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from agent.settings_base import NAME, Section


class AsteriskSettings(Section):
    """One Asterisk or FreePBX whose calls are followed and recorded through ARI."""

    name: str = Field(pattern=NAME, max_length=64, description="Name of this PBX in pages and logs.")
    url: str = Field(description="Its REST interface, for example http://192.0.2.10:8088/ari.")
    user: str = Field(pattern=r"^[^:\s]{1,64}$", description="User of ari.conf.")
    secret: SecretStr = Field(description="Its password.")
    app: str = Field(
        "cardline",
        pattern=r"^[A-Za-z0-9_-]{1,40}$",
        description="Name under which Cardline registers; each Cardline at one PBX needs its own.",
    )
    advertise: str = Field(
        "",
        pattern=r"^(?:[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+\]?)?$",
        description="Address of this machine for the PBX to send sound to; empty: the one from which it is reached.",
    )
    record_internal: bool = Field(False, description="Record calls between extensions too.")
    format: Literal["alaw", "ulaw", "g722"] = Field("alaw", description="How the PBX encodes the sound it sends here.")

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("it must look like http://192.0.2.10:8088/ari")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _without_login(self) -> Self:
        """Told of the table, not of the value: a message quotes values, and never this one."""
        if "@" in urlsplit(self.url).netloc:
            raise ValueError("url: user and secret have settings of their own")
        return self
