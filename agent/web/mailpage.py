"""The page of a mail: its conversation, the mail itself, its files, and everything that vouches for it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.mail.safe_html import list_parts
from agent.model import UserRole
from agent.store import attachments, evidence, history, mailthread, messages, privates
from agent.store.cards import ClientCard
from agent.web.decisions import load_relinking
from agent.web.files import is_picture
from agent.web.pages import page
from agent.web.services import login_of
from agent.web.shown import MailView

_REMOTE_PICTURE = re.compile(r"<img(?![^>]*\ssrc=)[^>]*>", re.IGNORECASE)  # what the cleaning has left of one


async def show_mail(
    request: web.Request, connection: AsyncConnection, entry: MailView, seen: Sequence[ClientCard]
) -> web.Response:
    """The whole conversation as the viewer may see it, this mail opened; for whoever may see this mail."""
    viewer = login_of(request).viewer
    (stored,) = await messages.list_messages(connection, [entry.id])
    thread = await mailthread.list_thread(connection, viewer, entry.thread_id)
    place = next((number for number, one in enumerate(thread) if one.id == entry.id), len(thread))
    proofs = await evidence.list_evidence_of(connection, entry.id)
    chain = await history.list_chain_sequences(connection, [one.blob.name for one in proofs if one.blob])
    readable = await attachments.list_readable(connection, [one.id for one in entry.attachments])
    return page(
        request,
        "mail.html",
        entry=entry,
        cards=seen,
        earlier=thread[:place],
        later=thread[place + 1 :],
        subject=entry.thread_subject or entry.subject,
        has_parts=bool(list_parts(stored.html)),
        has_remote=bool(_REMOTE_PICTURE.search(stored.html)),
        with_pictures=request.query.get("pictures") == "1",
        pictures={one.id for one in entry.attachments if is_picture(one)},
        readable=readable,
        proofs=proofs,
        chain=chain,
        seals=await mailthread.list_seals(connection, sorted(chain.values())) if chain else {},
        copies=await mailthread.list_copies(connection, [one.id for one in proofs]),
        correct=None,
        may_download=True,
        relink=await load_relinking(request, connection, entry.id),
        is_own=await privates.is_own(connection, viewer, entry.id),
        may_rule=viewer.role is UserRole.ADMINISTRATOR,
    )
