"""Everything that is known of a batch, gathered for the pure decision (`linker.match`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity, IdentityKind
from agent.settings import Settings
from agent.store import knowing, signs
from agent.store.asking import ask
from agent.store.interactions import Interaction, Party
from agent.store.knowing import MOST_CARDS, Known
from agent.store.linking import Undecided
from agent.store.linkrules import UnknownPolicy
from agent.store.signs import Question, Relation
from linker.knowledge import Bond, Knowledge, LastTalk, Relative, Signs
from linker.normalize import normalize_login
from linker.roles import widened

Identities = Mapping[int, Identity | None]
"""By party."""


async def gather(
    connection: AsyncConnection, batch: Sequence[Undecided], identities: Identities, settings: Settings
) -> Knowledge:
    """What the store knows of the parties, of the threads and conversations, and of cards that share a number."""
    known, relations = await _look_up(connection, batch, identities)
    return Knowledge(
        holders=known.holders,
        candidates=known.candidates,
        rules=known.rules,
        policies=known.policies,
        unknown_calls=UnknownPolicy(settings.linking.unknown_calls),
        unknown_mails=UnknownPolicy(settings.linking.unknown_mails),
        relatives=_relatives(batch, relations),
        signs=await _signs(connection, batch, identities, known),
    )


async def _look_up(
    connection: AsyncConnection, batch: Sequence[Undecided], identities: Identities
) -> tuple[Known, list[Relation]]:
    known = knowing.known_of(_wanted(batch, identities))
    threads = {one.thread_id for one in batch if one.thread_id is not None}
    keys = {one.interaction.conversation_key for one in batch if one.interaction.conversation_key}
    if threads or keys:
        return await ask(connection, known, signs.relations_of(sorted(threads), sorted(keys)))
    (found,) = await ask(connection, known)
    return found, []


def _wanted(batch: Sequence[Undecided], identities: Identities) -> list[Identity]:
    wanted: dict[Identity, None] = {}
    for one in batch:
        for party in one.parties:
            identity = identities[party.id]
            if identity is None and party.kind is IdentityKind.PHONE:
                identity = normalize_login(party.value)
            wanted |= dict.fromkeys(widened(identity))
    return list(wanted)


def _relatives(batch: Sequence[Undecided], relations: Sequence[Relation]) -> dict[int, list[Relative]]:
    by_bond: dict[int | str | None, list[Relative]] = {}
    for each in relations:
        by_bond.setdefault(each.thread_id or each.conversation_key, []).append(_relative(each))
    found: dict[int, list[Relative]] = {}
    for one in batch if by_bond else ():
        bonds = [bond for bond in (one.thread_id, one.interaction.conversation_key) if bond]
        near = [each for bond in bonds for each in by_bond.get(bond, ())]
        if own := [each for each in near if each.interaction_id != one.interaction.id]:
            found[one.interaction.id] = own
    return found


def _relative(one: Relation) -> Relative:
    return Relative(
        interaction_id=one.interaction_id,
        bond=Bond.THREAD if one.thread_id is not None else Bond.CONVERSATION,
        card_id=one.card_id,
        card_name=one.card_name,
        started=one.started,
        identities=frozenset(one.identities),
        is_heir=one.is_inherited,
    )


async def _signs(
    connection: AsyncConnection, batch: Sequence[Undecided], identities: Identities, known: Known
) -> dict[int, Signs]:
    """Looked up only where a number is on several cards, and on few enough for one of them to be meant."""
    questions = [
        question
        for one in batch
        for party in one.parties
        if (question := _question(one.interaction, party, identities, known)) is not None
    ]
    if not questions:
        return {}
    deals = await signs.list_open_deals(connection, sorted({card for one in questions for card in one.card_ids}))
    talks = await signs.list_last_talks(connection, questions)
    return {
        one.interaction_id: Signs(
            deals=deals,
            talks={
                card: LastTalk(at=at, employee_ids=employees)
                for card, (at, employees) in talks.get(one.interaction_id, {}).items()
            },
        )
        for one in questions
    }


def _question(interaction: Interaction, party: Party, identities: Identities, known: Known) -> Question | None:
    for one in widened(identities[party.id]):
        cards = tuple(dict.fromkeys(each.card_id for each in known.candidates.get(one, ())))
        if cards:
            if len(cards) == 1 or len(cards) >= MOST_CARDS:
                return None
            return Question(interaction_id=interaction.id, at=interaction.started, identity=one, card_ids=cards)
    return None
