"""Settings of virtual PBXs; `agent.settings` has them all together."""

from __future__ import annotations

import re
from typing import Literal
from zoneinfo import available_timezones

from pydantic import Field, SecretStr, field_validator

from agent.settings_base import Networks, Section


class ProviderSettings(Section):
    """One virtual PBX that tells of its calls over HTTP and keeps their recordings."""

    name: str = Field(
        pattern="^[a-z0-9][a-z0-9-]{0,31}$",
        description="Name in addresses, pages and logs: small letters, digits, hyphens.",
    )
    preset: Literal["generic", "mango", "novofon", "sipuni", "uis", "zadarma"] = Field(description="Whose PBX it is.")
    timezone: str = Field(description="Zone of the account's times, for example Europe/Moscow; it is never guessed.")
    key: SecretStr = Field(
        SecretStr(""), description="Key of the API: Zadarma's key, Mango's vpbx_api_key, Sipuni's user."
    )
    secret: SecretStr = Field(
        SecretStr(""), description="Secret of the API: Zadarma's secret, Mango's salt, Sipuni's and UIS's key."
    )
    token: SecretStr = Field(
        SecretStr(""),
        description="20 or more letters and digits that stand in the address, for presets that sign nothing (generic, "
        "sipuni, uis); empty: no notifications are taken, only asked for.",
    )
    poll_minutes: float = Field(5, ge=0, description="How often the provider's statistics are asked for; 0: never.")
    history_hours: float = Field(
        24, ge=0, le=24 * 365, description="How far back the statistics are read when it is attached, in hours."
    )
    recordings: bool = Field(True, description="Fetch the recordings the provider keeps.")
    recording_days: float = Field(
        7, gt=0, description="Days after which a recording that the provider does not give is given up, and flagged."
    )
    recording_max_mb: int = Field(200, ge=1, description="Largest recording that is fetched, in MB.")
    recording_hosts: tuple[str, ...] = Field(
        (), description="Hosts with recordings, their subdomains included, besides those the preset knows."
    )
    swap_channels: bool = Field(
        False, description="In its stereo recordings the one who was called has the left channel."
    )
    allow: Networks = Field(
        (), description="Networks that may send its notifications; empty: all, the signature counts."
    )
    allow_private_hosts: bool = Field(
        False, description="Recordings and API may lie in a private network, and be had without HTTPS."
    )
    api_url: str = Field("", description="Address of its API; empty: the preset's own.")
    fields: dict[str, str] = Field(
        default_factory=dict, description="Preset generic: our name of a field = the PBX's own name of it."
    )

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("not a zone of the IANA time zone database, such as Europe/Moscow")
        return value

    @field_validator("token")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and re.fullmatch(r"[A-Za-z0-9_-]{20,200}", value.get_secret_value()) is None:
            raise ValueError("it must have 20 or more letters, digits, - and _")
        return value
