"""`cardline erase`: erasure on demand, as a recorded act."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from agent.commandline.base import console, fail, with_parts
from agent.errors import CardlineError, Misconfigured

if TYPE_CHECKING:
    from agent.archive.erasure import Erasure
    from agent.parts import Parts


def erase(
    reason: Annotated[str, typer.Option(help="Why, without naming the person: it stays for good.")],
    basis: Annotated[str, typer.Option(help="The law or contract that asks for it.")],
    client: Annotated[str, typer.Option(help="Number or exact name of the card.")] = "",
    interaction: Annotated[list[int] | None, typer.Option(help="A single interaction; may be repeated.")] = None,
    by: Annotated[str, typer.Option(help="Who does it.")] = "",
    shared: Annotated[bool, typer.Option(help="Also what stands on other cards as well.")] = False,
    purge: Annotated[
        bool, typer.Option(help="Write the tables anew afterwards, so that no old rows lie on the disk; locks them.")
    ] = False,
    yes: Annotated[bool, typer.Option(help="Do not ask.")] = False,
) -> None:
    """Destroy the keys of what concerns a client or an interaction, and wipe its text. This cannot be undone."""
    if bool(client) == bool(interaction):
        fail(Misconfigured("Name either a client or interactions.", remedy="Use --client or --interaction."))
    whom = f"client {client}" if client else f"interactions {', '.join(map(str, interaction or ()))}"
    if not yes and not typer.confirm(f"Erase everything of {whom} for ever?"):
        raise typer.Exit(1)

    async def work(parts: Parts) -> Erasure:
        from agent.archive.erasure import Demand
        from agent.archive.erasure import erase as erase_now
        from agent.store import erasures, handouts

        card = None
        if client:
            async with parts.store.begin() as connection:
                card = only(await handouts.find_cards(connection, client), "card", client)
        demand = Demand(
            by=by or getpass.getuser(),
            reason=reason,
            basis=basis,
            card_id=card,
            interaction_ids=interaction or (),
            shared=shared,
        )
        done = await erase_now(parts.store, demand)
        if purge:
            await erasures.purge(parts.store.url)
        return done

    _say(with_parts(work))


def only(found: list[int], what: str, name: str) -> int:
    """The one that was meant; raises `CardlineError` where there is none, or several."""
    if not found:
        raise CardlineError(f"There is no {what} {name}.", remedy="Give its number or its exact name.")
    if len(found) > 1:
        numbers = ", ".join(map(str, found))
        raise CardlineError(f"There are several called {name}: {numbers}.", remedy="Give the number of one.")
    return found[0]


def _say(done: Erasure) -> None:
    count = len(done.interactions)
    console.print(
        f"{count} interactions and {done.blobs} blobs are erased; the act is link {done.sequence}.", highlight=False
    )
    if done.shared:
        console.print(f"Kept, for they stand on other cards too (--shared): {escape(_list(done.shared))}.")
    if done.unfinished:
        console.print(f"Not assembled yet; run it again later: {escape(_list(done.unfinished))}.")
    console.print(
        "Backups, replicas, exports and PostgreSQL's log may still hold what was erased: see docs/evidence.md.",
        highlight=False,
    )


def _list(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))
