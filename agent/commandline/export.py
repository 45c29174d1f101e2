"""`cardline export`: a client's or an employee's mails and recordings as files, with a manifest that proves them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from agent.commandline.base import console, fail, with_parts
from agent.commandline.erase import only
from agent.errors import Misconfigured

if TYPE_CHECKING:
    from agent.archive.handout import HandedOut
    from agent.parts import Parts

_DAYS = ["%Y-%m-%d"]


def export(
    folder: Path,
    client: Annotated[str, typer.Option(help="Number or exact name of the card.")] = "",
    employee: Annotated[str, typer.Option(help="Number or exact name of the employee.")] = "",
    form: Annotated[Literal["eml", "mbox"], typer.Option("--format", help="A file a mail, or one mbox.")] = "eml",
    since: Annotated[datetime | None, typer.Option(formats=_DAYS, help="First day, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_DAYS, help="Day after the last one, UTC.")] = None,
    seal: Annotated[bool, typer.Option(help="Seal first, so that everything is covered.")] = True,
) -> None:
    """Write mails, recordings and transcripts into a new folder; prove it with `cardline verify --manifest`."""
    if bool(client) == bool(employee):
        fail(Misconfigured("Name either a client or an employee.", remedy="Use --client or --employee."))

    async def work(parts: Parts) -> HandedOut:
        from agent.archive.handout import hand_out
        from agent.store import handouts

        if seal and parts.settings.seal.enabled:
            await parts.notary().seal()
        async with parts.store.begin() as connection:
            card = only(await handouts.find_cards(connection, client), "card", client) if client else None
            who = only(await handouts.find_employees(connection, employee), "employee", employee) if employee else None
            chosen = await handouts.list_interactions(
                connection, card_id=card, employee_id=who, since=_utc(since), until=_utc(until)
            )
        subject = f"card {card}" if card is not None else f"employee {who}"
        return await hand_out(parts.store, parts.archive, chosen, folder, form=form, subject=subject)

    done = with_parts(work)
    console.print(
        f"{done.mails} mails and {done.recordings} recordings written to {escape(str(folder))}; "
        f"seals cover {done.sealed} of them.",
        highlight=False,
    )
    for problem in done.missing:
        console.print(f"[red]Missing:[/] {escape(problem)}", highlight=False)
    raise typer.Exit(1 if done.missing else 0)


def _utc(day: datetime | None) -> datetime | None:
    return day.replace(tzinfo=UTC) if day is not None else None
