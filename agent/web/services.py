"""What the pages need from the rest of the service, and where they find it: nothing here is imported from siblings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.archive.blobs import Archive
from agent.model import Identity
from agent.settings import Settings
from agent.store.employees import EmployeeIdentity
from agent.store.engine import Store
from agent.store.logins import Login
from agent.store.notices import Notices
from agent.store.rights import Viewer
from agent.store.tokens import ApiToken


class Linker(Protocol):
    """What a person may correct about links (`linker.link.Linker`)."""

    async def create_card_from(self, identity: Identity, name: str, *, responsible_id: int | None = None) -> int:
        """Turn an identity into a client card whose past follows by itself; returns the card's id."""
        ...

    async def add_contact_point(self, card_id: int, identity: Identity, *, label: str = "") -> None:
        """Give a card one more identity; its past follows by itself."""
        ...

    async def add_employee_identity(
        self,
        connection: AsyncConnection,
        employee_id: int | None,
        identity: Identity,
        *,
        valid_from: datetime | None = None,
        label: str = "",
    ) -> None:
        """Say that an identity is an employee's, or nobody's on purpose, from a time on; its past is decided anew."""
        ...

    async def end_employee_identity(
        self, connection: AsyncConnection, held: EmployeeIdentity, valid_to: datetime
    ) -> None:
        """It was the employee's until then; what came after is decided anew."""
        ...

    async def remove_employee_identity(self, connection: AsyncConnection, held: EmployeeIdentity) -> None:
        """It was never the employee's; its past is decided anew."""
        ...

    async def relink(self, connection: AsyncConnection, interaction_ids: Sequence[int]) -> None:
        """Decide about these anew."""
        ...

    def identity(self, raw: str) -> Identity | None:
        """Whatever a person types: a number, an address, or @example.com for all at a domain."""
        ...

    async def learn(
        self, connection: AsyncConnection, card_id: int, identity: Identity, *, label: str = "", by: str = ""
    ) -> bool:
        """The card has it from now on, and its past follows; False where it has it already."""
        ...

    async def link_within(self, connection: AsyncConnection, interaction_ids: Sequence[int]) -> object:
        """Decide about these now, in the caller's transaction."""
        ...

    async def relink_identities(
        self,
        connection: AsyncConnection,
        identities: Sequence[Identity],
        *,
        card_id: int | None = None,
        by: str = "",
        at_once: int = 0,
    ) -> int | None:
        """Decide anew about everything these took part in, the newest at once, the others by jobs."""
        ...

    def phone(self, raw: str) -> Identity | None:
        """A number as a person types it: a phone or an extension, None when it is neither."""
        ...


ExtractPart = Callable[[bytes, int], Awaitable[tuple[bytes, str, str]]]
"""Plain bytes of a mail and the number of a part → the part's bytes, name and media type."""


Listen = Callable[[str], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Name of a capture on this host → its sound as a WAV stream, piece by piece, about a second behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookRequest:
    """What a virtual PBX sent to ``/hooks/<name>/<tail>``, as it came. ``address`` is whoever sent it."""

    name: str
    tail: str
    query: str
    content_type: str
    body: bytes
    signature: str
    address: str


class HookReply(Protocol):
    """What it is answered (`agent.sip.providers.preset.Reply`)."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def body(self) -> bytes:
        """What the provider wants to read."""
        ...

    @property
    def media_type(self) -> str:
        """Of the body."""
        ...


TakeHook = Callable[[HookRequest], Awaitable[HookReply]]
"""Judges and stores what a virtual PBX tells (`agent.sip.providers.door.HookDoor`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Handed to `make_app`. Without ``notices`` open pages hear no news; without ``listen`` nobody may listen in."""

    settings: Settings
    store: Store
    archive: Archive
    linker: Linker
    extract_part: ExtractPart
    notices: Notices | None = None
    listen: Listen | None = None
    take_hook: TakeHook | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks the API: a person who is logged in, or a program with a token. ``name`` goes into marks and logs."""

    viewer: Viewer
    name: str
    account_id: int | None
    token: str = ""


SERVICES: web.AppKey[Services] = web.AppKey("services", Services)
LOGIN: web.RequestKey[Login] = web.RequestKey("login", Login)
WAITING: web.RequestKey[Login] = web.RequestKey("waiting", Login)  # the second factor is still to come
TOKEN: web.RequestKey[ApiToken] = web.RequestKey("token", ApiToken)


def services(request: web.Request) -> Services:
    """The services of this request's application."""
    return request.app[SERVICES]


def login_of(request: web.Request) -> Login:
    """Who asks; only for handlers of routes that are not public, where the guard has put it."""
    return request[LOGIN]


def caller_of(request: web.Request) -> Caller:
    """Who asks, by login or token; only for routes that are not public."""
    token = request.get(TOKEN)
    if token is not None:
        name = f"token {token.name}"
        return Caller(viewer=token.viewer, name=name, account_id=token.account_id, token=token.name)
    login = login_of(request)
    return Caller(viewer=login.viewer, name=login.login, account_id=login.viewer.account_id)


def number_in(request: web.Request, name: str = "id") -> int:
    """A number of the path; routes allow only digits there, fewer than overflow a bigint."""
    return int(request.match_info[name])
