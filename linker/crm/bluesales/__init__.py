"""BlueSales, by its web server of commands: customers, users, and a comment for everything else."""

from __future__ import annotations

import hashlib

from agent.errors import Misconfigured
from agent.settings import Settings
from agent.settings_crm import CrmSettings
from linker.crm.bluesales.api import Api
from linker.crm.bluesales.crm import BlueSales
from linker.crm.protocol import Vault
from linker.crm.shapes import number_of, options_of

_OPTIONS = {"sweep_minutes": "60", "requests_a_second": "1"}


def connect(settings: CrmSettings, whole: Settings, vault: Vault) -> BlueSales:
    """Login and password of a user of BlueSales; it knows no keys.

    Raises:
        Misconfigured: one of both is missing.
    """
    password = settings.password.get_secret_value()
    if not settings.user or not password:
        raise Misconfigured(
            f"crm.{settings.name}: user or password is missing.",
            remedy="Give login and password of a BlueSales user of Cardline's own; docs/crm/bluesales.md.",
        )
    options = options_of(settings, _OPTIONS)
    digest = hashlib.md5(password.encode(), usedforsecurity=False).hexdigest().upper()  # what BlueSales wants
    api = Api(settings.url, settings.user, digest, a_second=number_of(settings, options, "requests_a_second"))
    return BlueSales(settings, whole, api, number_of(settings, options, "sweep_minutes"))
