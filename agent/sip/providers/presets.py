"""All presets by name, and the providers of an installation."""

from __future__ import annotations

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from agent.settings import Settings
from agent.settings_providers import ProviderSettings
from agent.sip.providers.generic import GENERIC
from agent.sip.providers.mango import MANGO
from agent.sip.providers.preset import Keys, Preset, Provider
from agent.sip.providers.sipuni import SIPUNI
from agent.sip.providers.uis import UIS
from agent.sip.providers.zadarma import NOVOFON, ZADARMA

PRESETS: Mapping[str, Preset] = {one.name: one for one in (GENERIC, MANGO, NOVOFON, SIPUNI, UIS, ZADARMA)}


def providers_of(settings: Settings) -> dict[str, Provider]:
    """What stands in [[provider]] tables, by name."""
    return {one.name: provider_of(one) for one in settings.provider}


def provider_of(settings: ProviderSettings) -> Provider:
    """One of them."""
    keys = Keys(
        key=settings.key.get_secret_value(),
        secret=settings.secret.get_secret_value(),
        token=settings.token.get_secret_value(),
        fields=settings.fields,
    )
    return Provider(settings=settings, preset=PRESETS[settings.preset], keys=keys, zone=ZoneInfo(settings.timezone))
