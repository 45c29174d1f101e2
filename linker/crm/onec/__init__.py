"""1C:CRM and other configurations of 1C:Предприятие with partners and interactions, by the standard OData interface."""

from __future__ import annotations

from agent.errors import Misconfigured
from agent.settings import Settings
from agent.settings_crm import CrmSettings
from linker.crm.onec.api import Api
from linker.crm.onec.crm import OneC
from linker.crm.onec.names import USUAL, Proposal, propose, read_metadata
from linker.crm.protocol import Vault
from linker.crm.shapes import number_of, options_of


def connect(settings: CrmSettings, whole: Settings, vault: Vault) -> OneC:
    """``url`` is the publication's address, with or without /odata/standard.odata.

    Raises:
        Misconfigured: there is no user, or an option has a wrong name.
    """
    if not settings.user:
        raise Misconfigured(
            f"crm.{settings.name}: there is no user.",
            remedy="Give user and password of a 1C user with rights to the interface; docs/crm/onec.md.",
        )
    names = options_of(settings, USUAL)
    number_of(settings, names, "sweep_minutes")
    pace = number_of(settings, names, "requests_a_second")
    api = Api(settings.url, settings.user, settings.password.get_secret_value(), a_second=pace)
    return OneC(settings, whole, api, names)


async def propose_names(settings: CrmSettings) -> list[Proposal]:
    """What `cardline crm metadata` shows: each option and the name that the base has for it.

    Raises:
        CrmAuthFailed, CrmUnreachable: as they say. Misconfigured: the base publishes nothing.
    """
    api = Api(settings.url, settings.user, settings.password.get_secret_value())
    try:
        document = await api.metadata()
    finally:
        await api.close()
    metadata = read_metadata(document)
    if not metadata:
        raise Misconfigured("The base publishes no object.", remedy="Choose objects in «Настройка OData» of 1C.")
    return propose(metadata, options_of(settings, USUAL))
