"""Attached files looked at without saving them: pictures as pictures, whatever has words as plain text. What the bytes
look like decides, never what the mail says of them; nothing of a file is ever markup of ours."""

from __future__ import annotations

import asyncio
import hashlib

from aiohttp import web

from agent.errors import CardlineError, Unreadable
from agent.model import SealedBlob
from agent.store import attachments, audit, evidence, messages, rights
from agent.store.messages import Attachment
from agent.web.pages import page
from agent.web.services import login_of, number_in, services

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
LARGEST_PICTURE = 8 * 1024 * 1024  # bytes
_LARGEST_THUMBNAIL = 2 * 1024 * 1024  # bytes: a page shows many
_LONGEST_SHOWN = 200_000  # characters of a file's words
_LONGEST_SOURCE = 256 * 1024  # bytes of a mail as it came
_PICTURE_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"


def is_picture(one: Attachment) -> bool:
    """Whether a page shows it as a small picture."""
    return one.sniffed_type in PICTURES and one.size <= _LARGEST_THUMBNAIL


async def show_picture(request: web.Request) -> web.StreamResponse:
    """The bytes of an attached picture, under the type that they look like."""
    found = await _seen(request)
    if found.sniffed_type not in PICTURES or found.size > LARGEST_PICTURE:
        raise web.HTTPNotFound
    answer = web.Response(body=await _content(request, found))
    answer.headers["Content-Type"] = found.sniffed_type
    answer.headers["Content-Disposition"] = "inline"
    answer.headers["Content-Security-Policy"] = _PICTURE_POLICY
    answer.headers["Cache-Control"] = "private, max-age=3600"
    return answer


async def show_file(request: web.Request) -> web.StreamResponse:
    """A page of ours with the picture, or the words that were read of the file."""
    found = await _seen(request)
    async with services(request).store.begin() as connection:
        words = await attachments.find_words(connection, found.id)
        subject = {"attachment_id": found.id, "interaction_id": found.interaction_id}
        account = login_of(request).viewer.account_id
        await audit.add_entry_once(connection, account, audit.ATTACHMENT_VIEWED, subject)
    return page(
        request,
        "file.html",
        file=found,
        is_picture=found.sniffed_type in PICTURES and found.size <= LARGEST_PICTURE,
        words=words[:_LONGEST_SHOWN],
        is_cut=len(words) > _LONGEST_SHOWN,
    )


async def show_source(request: web.Request) -> web.StreamResponse:
    """A mail as it was received, its beginning as text."""
    viewer = login_of(request).viewer
    async with services(request).store.begin() as connection:
        found = await evidence.find_evidence(connection, [number_in(request)])
        if not found or found[0].blob is None or found[0].blob.media_type != "message/rfc822":
            raise web.HTTPNotFound
        (proof,) = found
        if proof.interaction_id is None:
            if not viewer.sees_all:
                raise web.HTTPNotFound
        elif not await rights.may_see_interaction(connection, viewer, proof.interaction_id):
            raise web.HTTPNotFound
        await audit.add_entry_once(connection, viewer.account_id, audit.ORIGINAL_VIEWED, {"evidence_id": proof.id})
    assert found[0].blob is not None
    content = await asyncio.to_thread(services(request).archive.read, found[0].blob)
    return page(
        request,
        "source.html",
        proof=proof,
        text=content[:_LONGEST_SOURCE].decode("utf-8", "replace").replace("\0", "\ufffd"),
        is_cut=len(content) > _LONGEST_SOURCE,
    )


async def _seen(request: web.Request) -> Attachment:
    async with services(request).store.begin() as connection:
        found = await messages.find_attachment(connection, number_in(request))
        if found is None or not await rights.may_see_interaction(
            connection, login_of(request).viewer, found.interaction_id
        ):
            raise web.HTTPNotFound
    return found


async def _content(request: web.Request, found: Attachment) -> bytes:
    async with services(request).store.begin() as connection:
        proofs = await evidence.list_evidence_of(connection, found.interaction_id)
    return await cut_out(request, found, [one.blob for one in proofs if one.blob is not None])


async def cut_out(request: web.Request, wanted: Attachment, blobs: list[SealedBlob]) -> bytes:
    """Copies of a mail may number their parts differently: the digest says which part it is."""
    found = services(request)
    for blob in blobs:
        plain = await asyncio.to_thread(found.archive.read, blob)
        try:
            content, _, _ = await found.extract_part(plain, wanted.part)
        except Unreadable:  # this copy came within a journal report or a forward, and numbers its parts otherwise
            continue
        if await asyncio.to_thread(_sha256, content) == wanted.sha256:
            return content
    raise CardlineError(
        f"Attachment {wanted.id} is not in the mail any more as it was read.",
        remedy="Download the original mail from the page of this entry, and run `cardline verify`.",
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
