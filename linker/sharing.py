"""Recordings for CRMs: a link of its own for each delivery, or the sound as mp3."""

from __future__ import annotations

import asyncio
from typing import BinaryIO, cast

from agent.archive.blobs import Archive
from agent.errors import BlobErased
from agent.model import SealedBlob
from agent.sound.mp3 import encode_mp3
from agent.store import recordings, shares
from agent.store.engine import Store
from linker.crm.facts import RecordingToAttach


class Sharing:
    """``public_url`` is where our pages are reached; without it there are no links."""

    def __init__(self, store: Store, archive: Archive, public_url: str) -> None:
        self._store = store
        self._archive = archive
        self._public_url = public_url

    async def recording(
        self, recording_id: int, delivery_id: int, *, file_name: str, upload: bool
    ) -> RecordingToAttach:
        """To be uploaded, or as a new link; a link that was made for this delivery before is dead from now on.

        Raises:
            BlobErased: there is no such recording any more.
        """
        async with self._store.begin() as connection:
            found = await recordings.find_recording(connection, recording_id)
            if found is None or found.blob.wrapped_key is None:
                raise BlobErased("The recording was erased.")
            token = "" if upload else await shares.share(connection, recording_id, delivery_id)
        blob = found.blob

        async def read() -> bytes:
            return await asyncio.to_thread(self._encode, blob)

        return RecordingToAttach(
            url=f"{self._public_url}/shared/{token}.mp3" if token else "",
            file_name=file_name,
            seconds=round(found.duration_ms / 1000),
            read=read if upload else None,
        )

    async def revoke(self, delivery_id: int, *, but: int | None = None) -> None:
        """Links made for this delivery lead nowhere from now on, ``but`` those to that recording."""
        async with self._store.begin() as connection:
            await shares.revoke(connection, delivery_id, but=but)

    def _encode(self, blob: SealedBlob) -> bytes:
        with self._archive.open(blob) as sealed:
            return encode_mp3(cast(BinaryIO, sealed))
