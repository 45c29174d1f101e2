"""The state of every source and machine, with what to do about it, for those who must act when one fails."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from agent.model import SourceState
from agent.settings import Settings
from agent.store import hosts, sources
from agent.store.sources import SourceStatus
from agent.web.pages import page
from agent.web.services import services

# What a source's name begins with → the part of the page it stands in; the first that fits.
_KINDS = (
    ("imap:", "mailboxes"),
    ("smtp", "mail_door"),
    ("recordings:", "folders"),
    ("siprec", "telephony"),
    ("line:", "telephony"),
    ("asterisk:", "telephony"),
    ("provider:", "telephony"),
)
PARTS = ("telephony", "mailboxes", "mail_door", "folders", "others")
REMEDIES = (
    SourceState.LOGIN_FAILED,
    SourceState.UNREACHABLE,
    SourceState.FOLDER_MISSING,
    SourceState.STOPPED,
    SourceState.DAMAGED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceView:
    """One line of the page. ``state`` is empty for what stands in cardline.toml and has never told of itself."""

    name: str
    state: str
    detail: str
    changed: datetime | None
    remedy: str


async def list_sources(request: web.Request) -> web.StreamResponse:
    """All sources with state, since when, why, and the remedy; and the machines."""
    async with services(request).store.begin() as connection:
        found = await sources.list_statuses(connection)
        machines = await hosts.list_hosts(connection)
    return page(request, "sources.html", groups=group(found, services(request).settings), machines=machines)


def group(found: Sequence[SourceStatus], settings: Settings) -> list[tuple[str, list[SourceView]]]:
    """The lines by part; those of the configuration that were never seen are among them."""
    seen = {one.source for one in found}
    lines = [(one.source, _view(one)) for one in found]
    lines += [
        (name, SourceView(name=name, state="", detail="", changed=None, remedy="remedy_unseen"))
        for name in _configured(settings)
        if name not in seen
    ]
    parts: dict[str, list[SourceView]] = {name: [] for name in PARTS}
    for name, line in sorted(lines, key=lambda each: each[0]):
        parts[next((part for start, part in _KINDS if name.startswith(start)), "others")].append(line)
    return [(name, parts[name]) for name in PARTS if parts[name]]


def _view(one: SourceStatus) -> SourceView:
    remedy = f"remedy_{one.state.value}" if one.state in REMEDIES else ""
    return SourceView(name=one.source, state=one.state.value, detail=one.detail, changed=one.changed, remedy=remedy)


def _configured(settings: Settings) -> Iterable[str]:
    yield from (f"imap:{one.name}" for one in settings.mailbox)
    yield from (f"asterisk:{one.name}" for one in settings.asterisk)
    yield from (f"line:{one.name}" for one in settings.sip.line)
    yield from (f"provider:{one.name}" for one in settings.provider)
