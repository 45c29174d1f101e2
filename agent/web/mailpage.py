"""The page of a mail: its conversation, the mail itself, its files, and everything that vouches for it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.mail.safe_html import list_parts
from agent.model import UserRole
from agent.store import attachments, evidence, mailthread, rights
from agent.store.asking import ask
from agent.store.cards import ClientCard
from agent.store.history import Entry
from agent.web.decisions import load_relinking
from agent.web.files import is_picture
from agent.web.pages import page
from agent.web.services import login_of
from agent.web.shown import MailView

_REMOTE_PICTURE = re.compile(r"<img(?![^>]*\ssrc=)[^>]*>", re.IGNORECASE)  # what the cleaning has left of one


async def show_mail(
    request: web.Request, connection: AsyncConnection, entry: MailView, stored: Entry, seen: Sequence[ClientCard]
) -> web.Response:
    """The whole conversation as the viewer may see it, this mail opened; for whoever may see this mail."""
    viewer = login_of(request).viewer
    html = stored.message.html if stored.message is not None else ""
    thread = await mailthread.list_thread(connection, viewer, entry.thread_id)
    place = next((number for number, one in enumerate(thread) if one.id == entry.id), len(thread))
    ((proofs, chain),) = await ask(connection, evidence.proofs_of(entry.id))
    readable = await attachments.list_readable(connection, [one.id for one in entry.attachments])
    return page(
        request,
        "mail.html",
        entry=entry,
        cards=seen,
        earlier=thread[:place],
        later=thread[place + 1 :],
        subject=entry.thread_subject or entry.subject,
        has_parts=bool(list_parts(html)),
        has_remote=bool(_REMOTE_PICTURE.search(html)),
        with_pictures=request.query.get("pictures") == "1",
        pictures={one.id for one in entry.attachments if is_picture(one)},
        readable=readable,
        proofs=proofs,
        chain=chain,
        seals=await mailthread.list_seals(connection, sorted(chain.values())) if chain else {},
        copies=await mailthread.list_copies(connection, [one.id for one in proofs]),
        correct=None,
        may_download=True,
        relink=await load_relinking(request, connection, stored.parties, stored.links),
        is_own=rights.is_among(viewer, [one.employee_id for one in stored.parties]),
        may_rule=viewer.role is UserRole.ADMINISTRATOR,
    )
