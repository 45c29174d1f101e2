"""API tokens: what CRMs and other programs show instead of a login. An administrator makes and revokes them."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.errors import Misconfigured
from agent.store import accounts, audit, tokens
from agent.web.accounts import text_of
from agent.web.employees import account_of
from agent.web.pages import page
from agent.web.services import number_in, services


async def list_tokens(request: web.Request) -> web.StreamResponse:
    """All there are and were."""
    return await _list(request)


async def _list(request: web.Request, *, problem: str = "", made: str = "") -> web.Response:
    async with services(request).store.begin() as connection:
        found = await tokens.list_tokens(connection)
        people = await accounts.list_accounts(connection)
    return page(
        request,
        "tokens.html",
        status=400 if problem else 200,
        tokens=sorted(found, key=lambda one: (one.revoked is not None, one.name)),
        scopes=tokens.SCOPES,
        accounts=[one for one in people if not one.disabled],
        problem=problem,
        made=made,
    )


async def add_token(request: web.Request) -> web.StreamResponse:
    """A new one, shown this once."""
    name, chosen = await text_of(request, "name"), await text_of(request, "account")
    scopes = [str(one) for one in (await request.post()).getall("scope", [])]
    if chosen and not (chosen.isascii() and chosen.isdigit() and len(chosen) <= 18):
        raise web.HTTPBadRequest
    try:
        async with services(request).store.begin() as connection:
            _, made = await make_token(request, connection, name, scopes, int(chosen) if chosen else None)
    except Misconfigured:
        return await _list(request, problem="token_wrong")
    return await _list(request, made=made)


async def make_token(
    request: web.Request, connection: AsyncConnection, name: str, scopes: Sequence[str], account_id: int | None
) -> tuple[int, str]:
    """The same for the API: the token's id, and the token itself, told here and nowhere again.

    Raises:
        HTTPNotFound: there is no such account, or it is disabled. Misconfigured: the name is taken.
    """
    account = await accounts.find_by_id(connection, account_id) if account_id is not None else None
    if account_id is not None and (account is None or account.disabled):
        raise web.HTTPNotFound
    made = await tokens.insert_token(connection, name, scopes, account_id=account_id)
    subject = {"token": name, "scopes": sorted(scopes), "account": account.login if account else ""}
    await audit.add_entry(connection, account_of(request), audit.TOKEN_ADDED, subject)
    number = await tokens.find_id(connection, name)
    assert number is not None
    return number, made


async def revoke_token(request: web.Request) -> web.StreamResponse:
    """It opens nothing any more, at once and for good."""
    async with services(request).store.begin() as connection:
        await revoke(request, connection, number_in(request))
    raise web.HTTPSeeOther("/tokens")


async def revoke(request: web.Request, connection: AsyncConnection, number: int) -> None:
    """The same for the API; one that is revoked stays so.

    Raises:
        HTTPNotFound: there never was one.
    """
    name = await tokens.find_name(connection, number)
    if name is None:
        raise web.HTTPNotFound
    if await tokens.revoke_token(connection, name):
        await audit.add_entry(connection, account_of(request), audit.TOKEN_REVOKED, {"token": name})
