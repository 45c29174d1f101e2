"""How long calls and mails are kept: an administrator's page that says beforehand what would be erased."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import InteractionKind
from agent.store import audit, retention
from agent.web.accounts import text_of
from agent.web.employees import account_of
from agent.web.pages import page
from agent.web.services import login_of, number_in, services

LONGEST_MONTHS = 1200
MOST_COUNTED = 100_000
NAMES = {InteractionKind.CALL: "calls", InteractionKind.MESSAGE: "mails"}
_CARD = "card_not_found"


async def show_retention(request: web.Request) -> web.StreamResponse:
    """The policy and the cards that are exempt; with months in the address also what that would erase."""
    asked = _policy({name: request.query.get(name, "") for name in NAMES.values()}) if request.query else None
    problem = _CARD if request.query.get("problem") == _CARD else ""
    async with services(request).store.begin() as connection:
        saved = await retention.find_policy(connection)
        shown = saved if asked is None or problem else asked
        now = datetime.now(UTC)
        counts = {
            kind: await retention.count_due(
                connection, kind, retention.months_before(now, months), most=MOST_COUNTED + 1
            )
            for kind, months in shown.items()
        }
        holds = await retention.list_holds(connection)
    return page(
        request,
        "retention.html",
        status=400 if problem else 200,
        kinds=[(kind, name, saved.get(kind), shown.get(kind), counts.get(kind, 0)) for kind, name in NAMES.items()],
        is_preview=asked is not None and not problem,
        is_changed=shown != saved,
        most=MOST_COUNTED,
        holds=holds,
        problem=problem,
    )


def _policy(fields: Mapping[str, str]) -> dict[InteractionKind, int]:
    found = {}
    for kind, name in NAMES.items():
        text = fields[name].strip()
        if not text:
            continue
        if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= LONGEST_MONTHS):
            raise web.HTTPBadRequest
        found[kind] = int(text)
    return found


async def save_retention(request: web.Request) -> web.StreamResponse:
    """From now on; the first erasure by it comes after a day."""
    policy = _policy({name: await text_of(request, name) for name in NAMES.values()})
    async with services(request).store.begin() as connection:
        await save(request, connection, policy)
    raise web.HTTPSeeOther("/retention")


async def save(request: web.Request, connection: AsyncConnection, policy: Mapping[InteractionKind, int]) -> None:
    """The same for the API; months for which each kind is kept, for ever where there are none."""
    before = await retention.find_policy(connection)
    if policy != before:
        await retention.save_policy(connection, policy)
        subject = {"before": named(before), "after": named(policy)}
        await audit.add_entry(connection, account_of(request), audit.RETENTION_CHANGED, subject)


def named(policy: Mapping[InteractionKind, int]) -> dict[str, object]:
    """A policy by the names that people read."""
    return {NAMES[kind]: months for kind, months in policy.items()}


async def hold_card(request: web.Request) -> web.StreamResponse:
    """Nothing of this card is erased by age: a dispute, an inquiry."""
    text, reason = (await text_of(request, "card")).removeprefix("№").strip(), await text_of(request, "reason")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise web.HTTPSeeOther(f"/retention?problem={_CARD}#holds")
    async with services(request).store.begin() as connection:
        is_done = await hold(request, connection, int(text), reason)
    raise web.HTTPSeeOther("/retention#holds" if is_done else f"/retention?problem={_CARD}#holds")


async def hold(request: web.Request, connection: AsyncConnection, card_id: int, reason: str) -> bool:
    """The same for the API; False where it was so already, or there is no such card."""
    is_done = await retention.hold_card(connection, card_id, reason=reason, by=login_of(request).login)
    if is_done:
        subject = {"card_id": card_id, "reason": reason}
        await audit.add_entry(connection, account_of(request), audit.CARD_HELD, subject)
    return is_done


async def release_card(request: web.Request) -> web.StreamResponse:
    """The policy holds for it again."""
    async with services(request).store.begin() as connection:
        await release(request, connection, number_in(request))
    raise web.HTTPSeeOther("/retention#holds")


async def release(request: web.Request, connection: AsyncConnection, card_id: int) -> None:
    """The same for the API.

    Raises:
        HTTPNotFound: it was not exempt.
    """
    if not await retention.release_card(connection, card_id):
        raise web.HTTPNotFound
    await audit.add_entry(connection, account_of(request), audit.CARD_RELEASED, {"card_id": card_id})
