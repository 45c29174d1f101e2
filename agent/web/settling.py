"""What a person says of pairs of calls, of what could not be read, of work and deliveries that were given up: for the
pages, and for the API."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.jobs import PARSE, Job, defer
from agent.store import audit, lostmail, undelivered, waiting
from agent.web.corrections import unite
from agent.web.employees import account_of
from agent.web.ownentries import check_seen
from agent.web.services import login_of


async def settle_near(
    request: web.Request, connection: AsyncConnection, first: int, second: int, *, are_one: bool
) -> None:
    """Two calls are one, or they are two and nobody asks again.

    Raises:
        HTTPNotFound: one of them is hidden, or they are not near. HTTPConflict: they cannot be one.
    """
    for number in (first, second):
        await check_seen(request, connection, number)
    if are_one:
        await unite(request, connection, first, second)
        return
    await waiting.forget_near(connection, first, second)
    subject = {"interaction_id": first, "other": second}
    await audit.add_entry(connection, account_of(request), audit.CALLS_KEPT_APART, subject)


async def settle_evidence(request: web.Request, connection: AsyncConnection, number: int, *, again: bool) -> None:
    """What could not be read is tried again, what a mailbox did not give is asked for at its next look; or somebody
    has looked at it and it bothers nobody any more.

    Raises:
        HTTPNotFound: it does not wait; only mails are read again.
    """
    if not again:
        if not await waiting.set_evidence_aside(connection, number, by=login_of(request).login):
            raise web.HTTPNotFound
        return
    if not await lostmail.ask_now(connection, number):
        if not await waiting.read_again(connection, number):
            raise web.HTTPNotFound
        await defer(connection, [Job(task=PARSE, args={"evidence_ids": [number]})])
    await audit.add_entry(connection, account_of(request), audit.EVIDENCE_READ_AGAIN, {"evidence_id": number})


async def settle_failed_job(request: web.Request, connection: AsyncConnection, number: int, *, again: bool) -> None:
    """Work that was given up is done again, or not at all.

    Raises:
        HTTPNotFound: it was not given up.
    """
    act = waiting.retry_job if again else waiting.forget_job
    if not await act(connection, number):
        raise web.HTTPNotFound
    subject = {"job_id": number, "answer": "again" if again else "forget"}
    await audit.add_entry(connection, account_of(request), audit.JOB_RETRIED, subject)


async def settle_delivery(request: web.Request, connection: AsyncConnection, number: int, *, again: bool) -> None:
    """What a CRM could not be told is tried again, or it need not know.

    Raises:
        HTTPNotFound: it was not given up.
    """
    is_done = await (undelivered.retry(connection, ids=[number]) if again else undelivered.drop(connection, number))
    if not is_done:
        raise web.HTTPNotFound
    act = audit.DELIVERIES_RETRIED if again else audit.DELIVERY_DROPPED
    await audit.add_entry(connection, account_of(request), act, {"delivery_id": number})
