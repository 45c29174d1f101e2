"""Calls that have to do with each other, and which of them talk belongs to. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from agent.sip.asterisk.channels import Channel, natural
from agent.sip.asterisk.facts import Facts
from agent.sip.asterisk.numbers import is_extension, own_number
from agent.sip.asterisk.talks import Talk


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that has to do with each other: trees of channels by key, oldest first, and all talk among them."""

    source: str
    facts: Facts
    trees: Mapping[str, Sequence[Channel]]
    talks: Sequence[Talk]
    trunks: frozenset[str]
    digits: int

    @cached_property
    def home(self) -> dict[str, str]:
        """Channel to the key of its tree."""
        return {one.id: key for key, tree in self.trees.items() for one in tree}

    @cached_property
    def owned(self) -> tuple[dict[str, list[Talk]], dict[str, tuple[str, datetime]]]:
        """Talk by the call it belongs to, and which call ended when because an older one took it up."""
        order = list(self.trees)
        owners: dict[str, list[Talk]] = {key: [] for key in order}
        taken: dict[str, tuple[str, datetime]] = {}

        def now(key: str) -> str:
            while key in taken:
                key = taken[key][0]
            return key

        for talk in self.talks:
            keys = {now(self.home[one]) for one in talk.phones}
            owner = min(keys, key=order.index)
            taken |= dict.fromkeys(keys - {owner}, (owner, talk.start))
            owners[owner].append(talk)
        return owners, taken

    def conversation_of(self, key: str) -> str:
        """The oldest call that this one became part of."""
        taken = self.owned[1]
        while key in taken:
            key = taken[key][0]
        return key

    def number(self, channel: Channel) -> str:
        """Who is at the far end of a channel."""
        callers = sorted(self.facts.dialled_by.get(channel.id, ()), key=natural)
        strings = [self.facts.diallings[caller, channel.id].string for caller in callers]
        did = next((one.exten[1] for caller in callers if (one := self.facts.channels[caller]).exten), "")
        dialled = next(filter(None, strings), "")
        return own_number(channel, dialled=dialled, did=did, trunks=self.trunks, digits=self.digits)

    def is_inside(self, channel: Channel) -> bool:
        """Whether it is a phone of ours."""
        return is_extension(self.number(channel), self.digits)
