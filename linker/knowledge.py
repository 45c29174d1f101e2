"""What the linker knows when it decides, gathered from the store for a whole batch; and what it decides. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from agent.model import Direction, Identity
from agent.store.cards import Candidate
from agent.store.employees import EmployeeIdentity
from agent.store.interactions import Party
from agent.store.linkrules import LinkRule, UnknownPolicy
from agent.store.links import Link


class Bond(StrEnum):
    """What holds interactions together."""

    THREAD = "thread"
    CONVERSATION = "conversation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """Another interaction of the same thread or conversation: on which card it stands (None: on none), and who of the
    outside took part. ``is_heir``: it has the card from the others itself, so it is no reason for them to have it."""

    interaction_id: int
    bond: Bond
    card_id: int | None
    card_name: str
    started: datetime
    identities: frozenset[Identity]
    is_heir: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LastTalk:
    """The newest entry that is surely on a card before the one that is decided, and who of us took part."""

    at: datetime
    employee_ids: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What tells cards with the same number apart, by card: open deals with the employees responsible for them, and the
    last talk with each. The store looks it up only where a number is shared."""

    deals: Mapping[int, frozenset[int]] = field(default_factory=dict)
    talks: Mapping[int, LastTalk] = field(default_factory=dict)


NO_SIGNS = Signs()


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What the store knows of the identities in a batch.

    ``rules`` are a person's decisions in force, ``policies`` what becomes of unknown numbers by our own line, with
    ``unknown_calls`` and ``unknown_mails`` for all others. ``relatives`` and ``signs`` are by interaction.
    """

    holders: Mapping[Identity, Sequence[EmployeeIdentity]]
    candidates: Mapping[Identity, Sequence[Candidate]]
    rules: Mapping[Identity, LinkRule] = field(default_factory=dict)
    policies: Mapping[Identity, UnknownPolicy] = field(default_factory=dict)
    unknown_calls: UnknownPolicy = UnknownPolicy.PROPOSE
    unknown_mails: UnknownPolicy = UnknownPolicy.PROPOSE
    relatives: Mapping[int, Sequence[Relative]] = field(default_factory=dict)
    signs: Mapping[int, Signs] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCard:
    """A card that the policy of a line wants made: for whom, called what, whose."""

    identity: Identity
    name: str
    responsible_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided of one interaction."""

    direction: Direction | None
    parties: tuple[Party, ...]
    links: tuple[Link, ...]
    flags: tuple[str, ...] = ()
    new_card: NewCard | None = None
