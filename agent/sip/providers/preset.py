"""What a preset is, and what it works with: keys, the zone of its times, and the provider's API."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from enum import Enum
from typing import Any
from zoneinfo import ZoneInfo

from agent.settings_providers import ProviderSettings
from agent.sip.providers.egress import Answer, Egress
from agent.sip.providers.notification import Hook, Notification, RecordingReference

_API_SECONDS = 60.0
_API_BYTES = 32 * 1024 * 1024
_STATISTICS_PAUSE = 5.0


class Verdict(Enum):
    """What the door does with a request."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # the signature is wrong: 403
    IGNORED = "ignored"  # of no use to us, or a trial of the connection: 200, and nothing is stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the provider is answered."""

    status: int = 200
    body: bytes = b""
    media_type: str = "text/plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What a provider signs with, as plain text; ``fields`` are other names that the generic preset reads."""

    key: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """Where a recording is to be had: an address, with a form to be posted there if any."""

    address: str = field(repr=False)  # it often carries a key
    form: Mapping[str, str] | None = field(default=None, repr=False)


class Api:
    """The provider's API, seen by a preset's functions."""

    def __init__(self, base: str, keys: Keys, zone: tzinfo, egress: Egress) -> None:
        self.base, self.keys, self.zone, self.egress = base.rstrip("/"), keys, zone, egress
        self.pause = _STATISTICS_PAUSE  # seconds between two questions whether statistics are ready

    async def ask(self, method: str, path: str, **more: Any) -> Answer:
        """One request to the API; its answer is bounded in size and time."""
        return await self.egress.ask(method, f"{self.base}{path}", limit=_API_BYTES, within=_API_SECONDS, **more)

    async def wait(self) -> None:
        """Before asking again whether something is ready."""
        await asyncio.sleep(self.pause)


Rows = AsyncIterator[Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A provider as a table of what it does.

    ``verify`` judges a request by its signature or its token in constant time; ``read`` turns a stored one into what
    it tells, None where that is nothing of a call; ``read_row`` the same for a line of ``list_calls``, the provider's
    statistics between two times, page by page. ``greet`` answers a provider that tries the address. ``find_file``
    says where a recording is to be had; without it there must be an address in the notification. ``in_address``: the
    token stands in the address, as the provider signs nothing. ``hosts`` hold API and recordings. ``stereo`` says how
    to get both parties apart, ``cabinet`` where the address is to be pasted.
    """

    name: str
    title: str
    verify: Callable[[Hook, Keys], Verdict]
    read: Callable[[Hook, Keys, tzinfo], Notification | None]
    stereo: str
    cabinet: str
    hosts: tuple[str, ...] = ()
    api_url: str = ""
    in_address: bool = False
    reply: Reply = Reply()
    greet: Callable[[Hook], Reply | None] | None = None
    read_row: Callable[[Mapping[str, Any], tzinfo], Notification | None] | None = None
    list_calls: Callable[[Api, datetime, datetime], Rows] | None = None
    find_file: Callable[[Api, RecordingReference], Awaitable[File]] | None = None
    list_extensions: Callable[[Api], Awaitable[list[tuple[str, str]]]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A preset with the settings of one installation."""

    settings: ProviderSettings
    preset: Preset
    keys: Keys
    zone: ZoneInfo

    @property
    def name(self) -> str:
        """As it stands in addresses, pages and logs."""
        return self.settings.name

    @property
    def source(self) -> str:
        """Its name as a source of calls."""
        return f"provider:{self.settings.name}"

    @property
    def can_poll(self) -> bool:
        """Whether statistics are to be asked for: the provider has them, and the keys are there."""
        return self.preset.list_calls is not None and self.settings.poll_minutes > 0 and bool(self.keys.secret)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Where our requests to it may go."""
        return (*self.preset.hosts, *self.settings.recording_hosts)

    def open_api(self) -> Api:
        """Its API; the caller closes ``api.egress``."""
        base = self.settings.api_url or self.preset.api_url
        own = (base.partition("://")[2].partition("/")[0].rpartition(":")[0] or base.partition("://")[2],)
        hosts = (*self.hosts, *own) if self.settings.api_url else self.hosts
        egress = Egress(hosts, allow_private=self.settings.allow_private_hosts)
        return Api(base, self.keys, self.zone, egress)


def same(given: str, expected: str) -> bool:
    """Whether two secrets are equal, in constant time; an empty one equals nothing."""
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())


def verify_token(hook: Hook, keys: Keys) -> Verdict:
    """For providers that sign nothing: the token stands in the address."""
    return Verdict.ACCEPTED if same(hook.tail, keys.token) else Verdict.REFUSED


def sha256(text: str) -> str:
    """Of UTF-8, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()
