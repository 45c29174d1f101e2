"""The tables `[sip]` and `[[sip.line]]`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from agent.settings_base import NAME, Networks, Port, Section

# What goes into SIP URIs is narrow, so that no value can add a parameter or a header to a message
_SIP_HOST = r"(?:\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{1,5})?"
_SIP_USER = r"[A-Za-z0-9_.+*#~-]{1,64}"


class LineSettings(Section):
    """One SIP account that calls are routed to, and the manager behind it."""

    name: str = Field(pattern=NAME, max_length=64, description="Name of this line in pages and logs.")
    registrar: str = Field(
        pattern=f"^{_SIP_HOST}$", description="The PBX or provider to register at, host or host:port."
    )
    proxy: str = Field(
        "", pattern=f"^(?:{_SIP_HOST})?$", description="Where to send all requests, if not to the registrar."
    )
    user: str = Field(pattern=f"^{_SIP_USER}$", description="Number or name of the account.")
    auth_user: str = Field("", pattern=f"^(?:{_SIP_USER})?$", description="Login name where it is not the user.")
    secret: SecretStr = Field(description="Password of the account.")
    transport: Literal["udp", "tcp"] = Field("udp", description="How to reach the registrar.")
    extension: str = Field(
        pattern=f"^(?:sip:)?{_SIP_USER}(?:@{_SIP_HOST})?$",
        description="Whom calls are connected to: an extension at the registrar, or a SIP URI.",
    )
    record: bool = Field(True, description="Record the calls; false: only connect and note them.")
    announcement: Path | None = Field(
        None, description="WAV file (PCM, 16 bits, mono) that both hear when the call is answered."
    )
    beep_s: float = Field(0, ge=0, description="Seconds between two short tones that tell of the recording; 0: none.")
    allow: Networks = Field(
        (), description="Networks that may send calls beside the registrar and the proxy; others are refused."
    )

    @model_validator(mode="after")
    def _not_itself(self) -> Self:
        if self.extension.removeprefix("sip:").partition("@")[0] == self.user:
            raise ValueError("extension: a line cannot be connected to itself; name the manager's own extension")
        return self


class SipSettings(Section):
    """SIP lines: phones of ours that are registered at a PBX or provider."""

    listen: str = Field("", description="Address of this machine for SIP and RTP of lines; empty: all.")
    rtp_ports: tuple[Port, Port] = Field((30000, 30999), description="First and last UDP port for media of lines.")
    line: tuple[LineSettings, ...] = Field((), description="SIP accounts, one [[sip.line]] table each.")

    @field_validator("line")
    @classmethod
    def _names(cls, value: tuple[LineSettings, ...]) -> tuple[LineSettings, ...]:
        names = [one.name for one in value]
        if twice := sorted({one for one in names if names.count(one) > 1}):
            raise ValueError(f"the name {twice[0]} is given to two of them; each needs its own")
        return value

    @field_validator("rtp_ports")
    @classmethod
    def _port_range(cls, value: tuple[int, int]) -> tuple[int, int]:
        if value[0] < 1024 or value[1] - value[0] < 15:
            raise ValueError("at least sixteen ports from 1024 on are needed, for example [30000, 30999]")
        return value
