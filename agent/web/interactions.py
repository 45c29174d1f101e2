"""One entry by itself with its evidence, and what belongs to it: formatted mail, attachments, originals."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping, Sequence

import structlog
from aiohttp import web
from aiohttp.helpers import content_disposition_header
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.errors import CardlineError
from agent.mail.safe_html import list_parts, resolve_parts
from agent.model import SealedBlob
from agent.store import audit, evidence, history, meetings, messages, rights
from agent.store.asking import ask
from agent.store.messages import Attachment
from agent.web.callpage import load_cards, show_call, show_part
from agent.web.cards import shown
from agent.web.decisions import load_relinking
from agent.web.files import PICTURES, cut_out
from agent.web.mailpage import show_mail
from agent.web.pages import page
from agent.web.recordings import may_download
from agent.web.said import chosen_transcript
from agent.web.services import login_of, number_in, services
from agent.web.shown import CallView, MailView

log = structlog.get_logger()

# The mail's own document: no script, nothing from elsewhere; its inline styles are cleaned and cannot load anything.
MAIL_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"
)
_MOST_PICTURES = 20
_LARGEST_PICTURES = 8 * 1024 * 1024  # bytes, all of a mail together
_DOWNLOAD_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}")
_MAIL_DOCUMENT = (
    '<!doctype html><html><head><meta charset="utf-8"><base target="_blank">'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><style>'
    "html{{background:#fff;color:#1c1b19;color-scheme:light}}"
    "body{{margin:12px;font:15px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}}"
    "img,table{{max-width:100%}}</style></head><body>{body}</body></html>"
)


async def show_interaction(request: web.Request) -> web.StreamResponse:
    """The entry as on the card, with everything that vouches for it; a call has a page made for listening."""
    number = number_in(request)
    viewer = login_of(request).viewer
    if (part := await show_part(request, number)) is not None:
        return part
    async with services(request).store.begin() as connection:
        await _check(request, number, connection)
        (found,) = await history.load_entries(connection, [number], transcript=chosen_transcript(request))
        seen = await load_cards(request, connection, found.links)
        known = {point.identity: card.name for card in seen for point in card.contact_points}
        (entry,) = shown(request, [found], clients=known)
        if isinstance(entry, CallView):
            return await show_call(request, connection, entry, found, seen)
        if isinstance(entry, MailView):
            return await show_mail(request, connection, entry, found, seen)
        ((proofs, chain),) = await ask(connection, evidence.proofs_of(number))
        about = await meetings.list_mails_about(connection, number) if entry.kind == "meeting" else []
        mails = [one for one in about if await rights.may_see_interaction(connection, viewer, one)]
        relinking = await load_relinking(request, connection, found.parties, found.links)
    return page(
        request,
        "interaction.html",
        entry=entry,
        proofs=proofs,
        chain=chain,
        cards=seen,
        correct=None,
        mails=mails,
        relink=relinking,
    )


async def show_mail_html(request: web.Request) -> web.StreamResponse:
    """The cleaned HTML of a mail as a document of its own, for the sandboxed frame. Pictures that came within the mail
    are shown where one has asked for them; what lies elsewhere is never loaded."""
    number = number_in(request)
    async with services(request).store.begin() as connection:
        await _check(request, number, connection)
        found = await messages.list_messages(connection, [number])
        attached = await messages.list_attachments(connection, [number])
        proofs = await evidence.list_evidence_of(connection, number)
    if not found or not found[0].html:
        raise web.HTTPNotFound
    pictures = _pictures(found[0].html, attached)
    blobs = [one.blob for one in proofs if one.blob is not None]
    inlined = await _inline(request, pictures, blobs) if request.query.get("pictures") == "1" else {}
    body = resolve_parts(found[0].html, inlined.get)
    answer = web.Response(text=_MAIL_DOCUMENT.format(body=body), content_type="text/html", charset="utf-8")
    answer.headers["Content-Security-Policy"] = MAIL_POLICY
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _pictures(html: str, attached: Sequence[Attachment]) -> dict[str, Attachment]:
    """Content-ID → picture, for those that the mail shows: by their bytes pictures, and not too many or too large."""
    by_id = {one.content_id: one for one in attached if one.content_id and one.sniffed_type in PICTURES}
    pictures = {name: by_id[name] for name in list_parts(html)[:_MOST_PICTURES] if name in by_id}
    room = _LARGEST_PICTURES
    for name, one in list(pictures.items()):
        room -= one.size
        if room < 0:
            del pictures[name]
    return pictures


async def _inline(request: web.Request, pictures: Mapping[str, Attachment], blobs: list[SealedBlob]) -> dict[str, str]:
    """The pictures within the document itself: its frame may ask for nothing, not even of us."""
    inlined = {}
    for name, one in pictures.items():
        try:
            content = await cut_out(request, one, blobs)
        except CardlineError as error:
            log.warning("picture_not_shown", attachment_id=one.id, reason=error.what)
            continue
        inlined[name] = f"data:{one.sniffed_type};base64,{base64.b64encode(content).decode()}"
    return inlined


async def download_attachment(request: web.Request) -> web.StreamResponse:
    """A part of a mail, cut out of the sealed original and checked against its digest."""
    async with services(request).store.begin() as connection:
        found = await messages.find_attachment(connection, number_in(request))
        if found is None:
            raise web.HTTPNotFound
        await _check(request, found.interaction_id, connection)
        proofs = await evidence.list_evidence_of(connection, found.interaction_id)
        subject = {"attachment_id": found.id, "interaction_id": found.interaction_id}
        await audit.add_entry(connection, login_of(request).viewer.account_id, audit.ATTACHMENT_DOWNLOADED, subject)
    content = await cut_out(request, found, [one.blob for one in proofs if one.blob is not None])
    return _download(content, found.name, found.media_type)


async def download_original(request: web.Request) -> web.StreamResponse:
    """The mail, or the sound file, exactly as it was received."""
    viewer = login_of(request).viewer
    async with services(request).store.begin() as connection:
        found = await evidence.find_evidence(connection, [number_in(request)])
        if not found or found[0].blob is None:
            raise web.HTTPNotFound
        (proof,) = found
        if proof.interaction_id is not None:
            await _check(request, proof.interaction_id, connection)
        elif not viewer.sees_all:
            raise web.HTTPNotFound
        if found[0].blob.media_type != "message/rfc822" and not may_download(request):
            raise web.HTTPForbidden
        await audit.add_entry(connection, viewer.account_id, audit.ORIGINAL_DOWNLOADED, {"evidence_id": proof.id})
    content = await asyncio.to_thread(services(request).archive.read, found[0].blob)
    if found[0].blob.media_type == "message/rfc822":
        return _download(content, f"cardline-{proof.id}.eml", "message/rfc822")
    return _download(content, str(proof.details.get("sound_file", "")), found[0].blob.media_type)


async def _check(request: web.Request, interaction_id: int, connection: AsyncConnection) -> None:
    """What is not his does not exist for the viewer."""
    if not await rights.may_see_interaction(connection, login_of(request).viewer, interaction_id):
        raise web.HTTPNotFound


def _download(content: bytes, name: str, media_type: str) -> web.Response:
    """Always a file to save, never a page of ours; the name loses what could lead out of a folder."""
    plain = re.sub(r'[\x00-\x1f\x7f"\\/]', "_", name).strip(". ") or "attachment"
    kind = media_type.lower() if _MEDIA_TYPE.fullmatch(media_type.lower()) else "application/octet-stream"
    answer = web.Response(body=content)
    answer.headers["Content-Type"] = kind
    answer.headers["Content-Disposition"] = content_disposition_header("attachment", filename=plain[:150])
    answer.headers["Content-Security-Policy"] = _DOWNLOAD_POLICY
    answer.headers["Cache-Control"] = "private, no-store"
    return answer
