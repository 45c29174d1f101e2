"""`cardline crm`: how CRMs go, whether they may be told what they should, and what is older or was given up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from agent.commandline.base import console, fail, in_database, in_words, read_settings, with_parts
from agent.commandline.crm_access import login, metadata
from agent.errors import CardlineError, Misconfigured

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from agent.parts import Parts
    from linker.crm.connected import Crms
    from linker.crm.facts import Finding
    from linker.crm.protocol import Scorecard

crm = typer.Typer(no_args_is_help=True, help="CRMs that are told of calls and mails.")

crm.command("login")(login)
crm.command("metadata")(metadata)

_COLOURS = {"ok": "green", "warning": "yellow", "fault": "red"}
_BATCH = 500
_SHOWN = 50


@crm.command("check")
def check(name: Annotated[str, typer.Argument(help=r"Name of the [\[crm]]; empty: all of them.")] = "") -> None:
    """Prove keys and rights without leaving a trace over there, and say what each CRM can and cannot do."""
    settings = read_settings()
    names = [one.name for one in settings.crm if name in ("", one.name)]
    if not names:
        fail(Misconfigured(f"There is no [[crm]] table {name or 'at all'}.", remedy="docs/crm says how to attach one."))

    async def work(parts: Parts) -> bool:
        from linker.crm.connected import Crms

        crms, is_good = Crms(parts.store, parts.settings, parts.archive.keys), True
        try:
            for one in names:
                console.print(f"[bold]{one}[/]")
                is_good &= _show(await _findings(crms, one))
                _show_scorecard(crms.connected(one).scorecard)
        finally:
            await crms.close()
        return is_good

    if not with_parts(work):
        raise typer.Exit(1)


async def _findings(crms: Crms, name: str) -> Sequence[Finding]:
    from linker.crm.facts import Finding

    try:
        return await crms.connected(name).check()
    except CardlineError as error:
        return [Finding(subject=name, level="fault", text=in_words(error))]


def _show(findings: Sequence[Finding]) -> bool:
    for one in findings:
        console.print(f"  [{_COLOURS[one.level]}]{one.level:8}[/] {escape(one.subject)}: {escape(one.text)}")
    return all(one.level != "fault" for one in findings)


def _show_scorecard(card: Scorecard) -> None:
    for capability, how in card.does.items():
        console.print(f"  [green]does[/]     {capability}: {escape(how)}", highlight=False)
    for capability, why in card.lacks.items():
        console.print(f"  [yellow]lacks[/]    {capability}: {escape(why)}", highlight=False)


@crm.command("list")
def list_crms() -> None:
    """How each goes, who is nobody there, and what was given up with what to do about it."""
    from agent.store import connectors, deliveries, mirror, undelivered

    async def read(connection: AsyncConnection) -> None:
        table = Table("name", "kind", "state", "since", "told", "waiting", "given up", box=None, padding=(0, 2))
        for one in await connectors.list_connectors(connection):
            states = await undelivered.count_states(connection, one.id)
            counts = [str(states.get(state, 0)) for state in (deliveries.DONE, deliveries.WAITING, deliveries.FAILED)]
            state = one.state if one.delivers else "off"
            table.add_row(one.name, one.kind, state, f"{one.since:%Y-%m-%d %H:%M}", *counts)
            for employee_id, name in await mirror.list_unmapped(connection, one.id):
                text = f"{name} (employee {employee_id}) is nobody in {one.name}: say who he is on the page CRM."
                console.print(escape(text))
        console.print(table)
        for failed in await undelivered.list_failed(connection, limit=_SHOWN):
            text = f"{failed.problem} {failed.remedy}"
            console.print(f"{failed.id}: {failed.connector}, entry {failed.interaction_id}: {escape(text)}")

    in_database(read)


@crm.command("retry")
def retry(
    delivery: Annotated[list[int] | None, typer.Argument(help="Numbers from `cardline crm list`; none: all.")] = None,
) -> None:
    """Try again what was given up, at once, also with a CRM that was left alone."""
    from agent.store import connectors, undelivered

    async def again(connection: AsyncConnection) -> int:
        for one in await connectors.list_connectors(connection):
            await connectors.resume(connection, one.id)
        return await undelivered.retry(connection, ids=delivery or None)

    console.print(f"{in_database(again)} are tried again.")


@crm.command("deliver")
def deliver(
    since: Annotated[datetime, typer.Option(help="First day, 2026-03-01.", formats=["%Y-%m-%d"])],
    until: Annotated[
        datetime | None, typer.Option(help="Day after the last; empty: today too.", formats=["%Y-%m-%d"])
    ] = None,
    really: Annotated[bool, typer.Option("--really", help="Do it; without it the numbers are only shown.")] = False,
) -> None:
    """Tell CRMs of what is older than the day they were switched on, or was imported."""
    from agent.store import handouts

    async def work(parts: Parts) -> tuple[int, int]:
        last = until.replace(tzinfo=UTC) if until is not None else None
        async with parts.store.begin() as connection:
            ids = await handouts.list_interactions(connection, since=since.replace(tzinfo=UTC), until=last)
        count = 0
        for at in range(0, len(ids), _BATCH):
            async with parts.store.begin() as connection:
                count += await _want(connection, ids[at : at + _BATCH], really=really)
        return len(ids), count

    entries, count = with_parts(work)
    word = "are told" if really else "would be told; repeat it with --really"
    console.print(f"Of {entries} entries, {count} that no CRM knows {word}.")


async def _want(connection: AsyncConnection, ids: Sequence[int], *, really: bool) -> int:
    from agent.store import outbox

    if really:
        return await outbox.want(connection, ids, whatever_age=True)
    nested = await connection.begin_nested()
    try:
        return await outbox.want(connection, ids, whatever_age=True)
    finally:
        await nested.rollback()
