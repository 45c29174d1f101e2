"""amoCRM and Kommo, by their REST API v4 (amocrm.ru/developers, developers.kommo.com): OAuth2 or a long-lived token."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from agent.errors import Misconfigured
from agent.settings import Settings
from agent.settings_crm import CrmSettings
from linker.crm.amocrm.api import Api, ask_for_token
from linker.crm.amocrm.crm import AmoCrm
from linker.crm.protocol import Vault
from linker.crm.shapes import number_of, options_of
from linker.crm.tokens import Grant, Tokens
from linker.crm.transport import Transport

_OPTIONS = {"redirect_uri": "", "calls": "card", "requests_a_second": "5"}
_CALLS = ("card", "number")


def connect(settings: CrmSettings, whole: Settings, vault: Vault) -> AmoCrm:
    """A long-lived token in ``key``; else OAuth2 with client_id and client_secret, after `cardline crm login`.

    Raises:
        Misconfigured: neither is given, or an option is wrong.
    """
    options = options_of(settings, _OPTIONS)
    if options["calls"] not in _CALLS:
        raise Misconfigured(f"crm.{settings.name}: options.calls is neither card nor number.")
    key = settings.key.get_secret_value()
    if not key and not settings.client_id:
        raise Misconfigured(
            f"crm.{settings.name}: there is no key.",
            remedy="Give a long-lived token as key, or client_id and client_secret; docs/crm/amocrm.md.",
        )

    async def renew(refresh: str) -> Grant:
        return await _get_token(settings, options, {"grant_type": "refresh_token", "refresh_token": refresh})

    tokens = None if key else Tokens(settings.name, vault, renew)
    api = Api(settings.url, key=key, tokens=tokens, a_second=number_of(settings, options, "requests_a_second"))
    return AmoCrm(settings, whole, api, by_number=options["calls"] == "number")


async def log_in(settings: CrmSettings, vault: Vault, code: str) -> None:
    """Turn the code of the integration's page, which lives for twenty minutes, into a login that is kept.

    Raises:
        CrmAuthFailed: it is wrong or too old.
    """
    options = options_of(settings, _OPTIONS)
    grant = await _get_token(settings, options, {"grant_type": "authorization_code", "code": code})
    await vault.save(grant.kept())


def consent_url(settings: CrmSettings) -> str:
    """Where a person allows the integration; it ends at its redirect URI with ``code=`` in it."""
    host = "www.kommo.com" if settings.url.endswith("kommo.com") else "www.amocrm.ru"
    return f"https://{host}/oauth?{urlencode({'client_id': settings.client_id, 'mode': 'post_message'})}"


async def _get_token(settings: CrmSettings, options: Mapping[str, str], fields: Mapping[str, str]) -> Grant:
    transport = Transport(settings.url)
    secret = settings.client_secret.get_secret_value()
    own = {"client_id": settings.client_id, "client_secret": secret, "redirect_uri": options["redirect_uri"]}
    try:
        return await ask_for_token(transport, {**fields, **own})
    finally:
        await transport.close()
