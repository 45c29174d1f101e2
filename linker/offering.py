"""What the signatures of a client's mails offer for his card."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import LinkState
from agent.store import contactproposals
from agent.store.links import Link
from linker.reading import Reader
from linker.signatures import SignedContact, contacts_in


async def offer_contacts(
    connection: AsyncConnection, inbound: Sequence[int], made: Mapping[int, Sequence[Link]], reader: Reader
) -> None:
    """Mails that clients wrote and that stand on one card: their signatures may hold numbers that are not known."""
    cards = {one: card for one in inbound if (card := _only_card(made[one])) is not None}
    signatures = await contactproposals.list_signatures(connection, list(cards)) if cards else {}
    if not signatures:
        return
    found = await asyncio.to_thread(_read, signatures, reader.region)
    offered = [
        (cards[mail], identity, one.label, mail)
        for mail, contacts in found.items()
        for one in contacts
        if (identity := reader.identity(one.raw)) is not None
    ]
    await contactproposals.offer(connection, offered)


def _read(signatures: Mapping[int, str], region: str) -> dict[int, list[SignedContact]]:
    return {mail: contacts_in(words, region=region) for mail, words in signatures.items()}


def _only_card(links: Sequence[Link]) -> int | None:
    return links[0].card_id if len(links) == 1 and links[0].state is LinkState.LINKED else None
