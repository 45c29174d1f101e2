"""Bitrix24, by its REST API (apidocs.bitrix24.com): as a local application, or by an incoming webhook, which can less.

An application registers calls with the telephony, so that they count there and carry recording and transcript; a
webhook may not (``WRONG_AUTH_TYPE``) and adds activities to the card.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.errors import Misconfigured
from agent.settings import Settings
from agent.settings_crm import CrmSettings
from linker.crm.bitrix24.api import OAUTH, Api, ask_for_token
from linker.crm.bitrix24.crm import Bitrix24
from linker.crm.protocol import Vault
from linker.crm.shapes import number_of, options_of
from linker.crm.tokens import Grant, Tokens
from linker.crm.transport import Transport

_OPTIONS = {"oauth_url": OAUTH, "requests_a_second": "2"}


def connect(settings: CrmSettings, whole: Settings, vault: Vault) -> Bitrix24:
    """An application where ``client_id`` is given, else a webhook: ``user`` and ``key`` are its number and its code.

    Raises:
        Misconfigured: neither is complete.
    """
    options = options_of(settings, _OPTIONS)
    key = settings.key.get_secret_value()
    if not settings.client_id and not (settings.user and key):
        raise Misconfigured(
            f"crm.{settings.name}: neither an application nor a webhook is named.",
            remedy="Give client_id and client_secret, or user and key of an incoming webhook; docs/crm/bitrix24.md.",
        )
    tokens = None
    if settings.client_id:

        async def renew(refresh: str) -> Grant:
            return await _get_token(settings, options, {"grant_type": "refresh_token", "refresh_token": refresh})

        tokens = Tokens(settings.name, vault, renew)
    path = "rest" if tokens is not None else f"rest/{settings.user}/{key}"
    api = Api(settings.url, path=path, tokens=tokens, a_second=number_of(settings, options, "requests_a_second"))
    return Bitrix24(settings, whole, api)


async def log_in(settings: CrmSettings, vault: Vault, code: str) -> None:
    """Turn the code of the consent page, which lives for thirty seconds, into a login that is kept.

    Raises:
        CrmAuthFailed: it is wrong or too old.
    """
    options = options_of(settings, _OPTIONS)
    grant = await _get_token(settings, options, {"grant_type": "authorization_code", "code": code})
    await vault.save(grant.kept())


def consent_url(settings: CrmSettings) -> str:
    """Where a person allows the application; it ends at the application's own address with ``code=`` in it."""
    return f"{settings.url}/oauth/authorize/?client_id={settings.client_id}&response_type=code"


async def _get_token(settings: CrmSettings, options: Mapping[str, str], fields: Mapping[str, str]) -> Grant:
    transport = Transport(options["oauth_url"])
    secret = settings.client_secret.get_secret_value()
    try:
        return await ask_for_token(transport, {**fields, "client_id": settings.client_id, "client_secret": secret})
    finally:
        await transport.close()
