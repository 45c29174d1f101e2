"""Which CRMs there are; a connector's module is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from agent.errors import Misconfigured
from agent.settings import Settings
from agent.settings_crm import CrmSettings
from linker.crm.protocol import Crm, Vault

KINDS: dict[str, str] = {
    "amocrm": "linker.crm.amocrm:connect",
    "bitrix24": "linker.crm.bitrix24:connect",
    "bluesales": "linker.crm.bluesales:connect",
    "onec": "linker.crm.onec:connect",
    "tryton": "linker.crm.tryton:connect",
}
"""Where each connector is: module and a function ``connect(settings, whole, vault) -> Crm`` that asks nobody yet."""


LOGINS: dict[str, str] = {
    "amocrm": "linker.crm.amocrm",
    "bitrix24": "linker.crm.bitrix24",
}
"""CRMs with OAuth2: modules with ``consent_url(settings)`` and ``log_in(settings, vault, code)``."""


def connect(settings: CrmSettings, whole: Settings, vault: Vault) -> Crm:
    """A connector; ``whole`` has region and digits of extensions, for `linker.normalize`.

    Raises:
        Misconfigured: a setting that this kind needs is missing.
    """
    place = KINDS.get(settings.kind)
    if place is None:
        raise Misconfigured(f"crm.{settings.name}: {settings.kind} cannot be attached yet.", remedy="Choose another.")
    module, _, function = place.partition(":")
    make: Callable[[CrmSettings, Settings, Vault], Crm] = getattr(import_module(module), function)
    return make(settings, whole, vault)
