"""The page of a call, made for listening: players with what happened in them, what was said, and what people noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web
from markupsafe import Markup
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import UserRole
from agent.store import callparts, callproofs, cards, comments, evidence, live, rights, transcripts
from agent.store.asking import ask
from agent.store.callparts import CallPart
from agent.store.cards import ClientCard
from agent.store.comments import Comment
from agent.store.history import Entry
from agent.store.interactions import Party
from agent.store.links import Link
from agent.web.calls import LiveView, live_views
from agent.web.corrections import list_correctable
from agent.web.decisions import load_relinking
from agent.web.guard import managers_see_team
from agent.web.moments import Moment, Presence, list_moments, marked_interruptions, masked, transfers
from agent.web.pages import PAGES, formats_of, page
from agent.web.recordings import may_download
from agent.web.said import Reading, load_readings
from agent.web.services import login_of, services
from agent.web.shown import CallView, Sound
from agent.web.spoken import Wordings

_FEW = 6  # interruptions that stand among the other marks
_LATEST = 24 * 3600.0  # seconds within a recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A comment; ``at`` is its second within the recording."""

    id: int
    recording_id: int | None
    at: float | None
    text: str
    author: str
    created: datetime
    is_removable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Deck:
    """A recording with its player. ``at`` is the second at which it stands when the page opens.

    ``asides`` are what is worth a look; ``interruptions`` are by themselves where there are many.
    """

    sound: Sound
    reading: Reading
    text: Markup
    asides: tuple[Moment, ...]
    interruptions: tuple[Moment, ...]
    at: float
    is_folded: bool


async def show_call(
    request: web.Request, connection: AsyncConnection, entry: CallView, stored: Entry, seen: Sequence[ClientCard]
) -> web.Response:
    """A call that the viewer may see, as it is stored, with the cards he sees it on; whoever calls has checked that."""
    viewer, number, parties = login_of(request).viewer, entry.id, stored.parties
    (proofs, chain), has, sealed = await ask(
        connection, evidence.proofs_of(number), callparts.parts_of(number), callproofs.proofs_of(number)
    )
    readings = await load_readings(request, connection, entry.sounds, has)
    return page(
        request,
        "call.html",
        entry=entry,
        call_id=number,
        recording_id=entry.sounds[0].id if entry.sounds else "",
        decks=_decks(request, entry, parties, readings),
        asked=_number(request.query.get("asked", "")),
        may_ask=viewer.supervises and services(request).settings.transcribe.enabled,
        notes=await load_notes(request, connection, number) if CallPart.COMMENTS in has else [],
        problem="comment_wrong" if request.query.get("problem") == "comment_wrong" else "",
        may_download=may_download(request),
        lives=await _lives(request, connection, entry),
        proofs=proofs,
        chain=chain,
        seals=sealed.seals,
        sounds=sealed.sounds,
        sees_team=managers_see_team(request),
        managers_save=services(request).settings.web.managers_download,
        cards=seen,
        relink=await load_relinking(request, connection, parties, stored.links),
        is_own=rights.is_among(viewer, [one.employee_id for one in parties]),
        correct=await list_correctable(connection, viewer, number, parties, has) if viewer.supervises else None,
    )


async def show_part(request: web.Request, number: int) -> web.Response | None:
    """One line of the text alone, to read or to correct, for a page that replaces just that; None for all else."""
    if "HX-Request" not in request.headers:
        return None
    editing, reading = (_number(request.query.get(name, "")) for name in ("edit", "line"))
    if editing or reading:
        return await show_said(request, number, editing or reading, editing=editing)
    return None


async def show_said(request: web.Request, number: int, utterance_id: int, *, editing: int = 0) -> web.Response:
    """One line of the text of this call.

    Raises:
        HTTPNotFound: it is not the viewer's, or not of this call.
    """
    async with services(request).store.begin() as connection:
        found = await transcripts.find_spoken(connection, utterance_id)
        seen = await rights.may_see_interaction(connection, login_of(request).viewer, number)
    if found is None or found[0] != number or not seen:
        raise web.HTTPNotFound
    if editing:
        return page(request, "_mending.html", call_id=number, line=found[2])
    answer = web.Response(text=Wordings(*formats_of(request), number).line(found[2]), content_type="text/html")
    answer.headers["Cache-Control"] = "no-store"
    return answer


async def load_notes(request: web.Request, connection: AsyncConnection, number: int) -> list[Note]:
    """The comments on a call as whoever asks sees them."""
    viewer = login_of(request).viewer

    def removable(one: Comment) -> bool:
        return one.account_id == viewer.account_id or viewer.role is UserRole.ADMINISTRATOR

    return [
        Note(
            id=one.id,
            recording_id=one.recording_id,
            at=None if one.at_ms is None else one.at_ms / 1000,
            text=one.text,
            author=one.author,
            created=one.created,
            is_removable=removable(one),
        )
        for one in await comments.list_comments(connection, number)
    ]


async def load_cards(request: web.Request, connection: AsyncConnection, links: Sequence[Link]) -> list[ClientCard]:
    """The cards on which an entry stands, as far as the viewer sees them."""
    linked = [one.card_id for one in links if one.card_id is not None]
    seen = await rights.list_seen_cards(connection, login_of(request).viewer, linked) if linked else set()
    found = {one.id: one for one in await cards.find_cards(connection, sorted(seen))} if seen else {}
    return [found[one] for one in linked if one in found]


async def _lives(request: web.Request, connection: AsyncConnection, entry: CallView) -> dict[int, LiveView]:
    """The call itself while it goes on, with what may be done with it."""
    if entry.outcome != "in_progress":
        return {}
    found = await live.find_live(connection, login_of(request).viewer, entry.id)
    return live_views(found, host=services(request).settings.host, now=datetime.now(UTC))


def _decks(
    request: web.Request, entry: CallView, parties: Sequence[Party], readings: Mapping[int, Reading]
) -> list[Deck]:
    """The fuller recording first, what continues it after it, copies folded; the one that the address names is open at
    its second."""
    at = _second(request.query.get("at", ""))
    wanted = _number(request.query.get("recording", ""))
    if wanted not in [one.id for one in entry.sounds]:
        wanted = entry.sounds[0].id if entry.sounds else 0
    names: dict[int | None, str] = {one.channel: one.name for sound in entry.sounds[:1] for one in sound.voices}
    present = [
        Presence(
            name=names.get(one.channel) or one.name or one.value, channel=one.channel, joined=one.joined, left=one.left
        )
        for one in parties
    ]
    decks = []
    for sound in entry.sounds:
        is_wanted = sound.id == wanted
        folded = sound.is_copy and not is_wanted
        reading = readings[sound.id]
        decks.append(_deck(request, entry, sound, reading, present, at=at if is_wanted else 0.0, is_folded=folded))
    return decks


def _deck(
    request: web.Request,
    entry: CallView,
    sound: Sound,
    reading: Reading,
    present: Sequence[Presence],
    *,
    at: float,
    is_folded: bool,
) -> Deck:
    marked = marked_interruptions(sound.lines) if reading.is_measured else None
    moments = list_moments(sound.marks, sound.gaps, () if sound.mixed else sound.lines, marked=marked)
    moments += masked(reading.masked)
    moments += transfers(present, sound.started, sound.seconds)
    moments.sort(key=lambda one: (one.start, one.end))
    many = sum(one.kind == "interruption" for one in moments) > _FEW
    return Deck(
        sound=sound,
        reading=reading,
        text=_text(request, entry, sound),
        asides=tuple(one for one in moments if not many or one.kind != "interruption"),
        interruptions=tuple(one for one in moments if many and one.kind == "interruption"),
        at=min(at, sound.seconds),
        is_folded=is_folded,
    )


def _text(request: web.Request, entry: CallView, sound: Sound) -> Markup:
    """What was said in it; the line that is being corrected as a form."""
    editing = _number(request.query.get("edit", ""))
    forms = {
        one.id: Markup(request.app[PAGES].html(request, "_mending.html", call_id=entry.id, line=one))  # noqa: S704
        for one in sound.lines
        if one.id == editing
    }
    return Wordings(*formats_of(request), entry.id).lines(sound.lines, instead=forms)


def _second(text: str) -> float:
    """A second of the address, never more than a day; 0 for nonsense."""
    try:
        value = float(text[:12])
    except ValueError:
        return 0.0
    return min(value, _LATEST) if value > 0 else 0.0


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0
