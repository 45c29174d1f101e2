"""Hands out what was archived of a client or an employee: files anybody can open, and a manifest that proves them.

The manifest names for each file its place in the chain and the salt of its digest, which tells nothing else. With
`proof.jsonl` and one seal a stranger proves that exactly these bytes were archived, and learns of other people's mail
nothing but that there was some.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal

import structlog

from agent.archive.blobs import Archive
from agent.archive.chain import load_seals
from agent.archive.chainfile import HANDOUT_KIND, MANIFEST
from agent.archive.exporting import prepare_folder, stretches, write_proof, write_seals
from agent.archive.statements import instant
from agent.errors import BlobErased, CardlineError
from agent.model import Utterance
from agent.store import audit, handouts, transcripts
from agent.store.engine import Store
from agent.store.handouts import MAIL, RECORDING, Handout

log = structlog.get_logger()

MBOX = "mails.mbox"
_COPY_BYTES = 1024 * 1024
_FROM_LINE = re.compile(rb"^(>*From )", re.MULTILINE)
_KEY_BYTES = 32

Form = Literal["eml", "mbox"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file, or one stretch of the mbox file (``offset``, ``length``; None: the whole file).

    ``sequence`` None: it was not chained yet. ``salt`` is in hex.
    """

    file: str
    offset: int | None
    length: int | None
    sha256: str
    salt: str
    sequence: int | None
    kind: str
    interaction: int
    started: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOut:
    """How many mails and recordings were written, how many of them a seal covers, and what could not be read."""

    mails: int
    recordings: int
    sealed: int
    missing: tuple[str, ...]


async def hand_out(
    store: Store, archive: Archive, interaction_ids: Sequence[int], folder: Path, *, form: Form, subject: str
) -> HandedOut:
    """Write everything of these interactions into a new folder."""
    await asyncio.to_thread(prepare_folder, folder)
    async with store.begin() as connection:
        found = await handouts.list_handouts(connection, interaction_ids)
        spoken = await transcripts.list_transcripts(connection, interaction_ids)
    items, missing = await asyncio.to_thread(_write_all, archive, found, folder, form)
    others = [await asyncio.to_thread(_write_transcript, folder, one.id, one.utterances) for one in spoken]
    seals = await load_seals(store)
    wanted = {item.sequence for item in items if item.sequence is not None}
    await write_proof(store, folder, stretches(seals, wanted), wanted)
    await asyncio.to_thread(write_seals, folder, seals, archive.keys.folder)
    await asyncio.to_thread(_write_manifest, folder, subject, items, others, missing)
    async with store.begin() as connection:
        await audit.add_entry(connection, None, audit.EXPORTED, {"subject": subject, "items": len(items)})
    reach = seals[-1].length if seals else 0
    log.info("handed_out", items=len(items), missing=len(missing))
    return HandedOut(
        mails=sum(item.kind == MAIL for item in items),
        recordings=sum(item.kind == RECORDING for item in items),
        sealed=sum(item.sequence is not None and item.sequence <= reach for item in items),
        missing=tuple(missing),
    )


def _write_all(archive: Archive, found: Sequence[Handout], folder: Path, form: Form) -> tuple[list[Item], list[str]]:
    items, missing = [], []
    with (folder / MBOX if form == "mbox" else Path(os.devnull)).open("wb") as mbox:
        for one in found:
            try:
                if one.kind == MAIL and form == "mbox":
                    items.append(_append(archive, one, mbox))
                else:
                    items.append(_copy(archive, one, folder))
            except BlobErased:
                continue  # by somebody else, while we wrote
            except CardlineError as error:
                missing.append(f"{one.kind} {one.id}: {error.what}")
    return items, missing


def _append(archive: Archive, one: Handout, mbox: IO[bytes]) -> Item:
    """The mail in mboxrd form, which can be undone to the byte; line ends stay as they came."""
    plain = archive.read(one.blob)
    mbox.write(f"From MAILER-DAEMON {one.started.astimezone(UTC):%a %b %d %H:%M:%S %Y}\n".encode())
    offset, quoted = mbox.tell(), _FROM_LINE.sub(rb">\1", plain)
    mbox.write(quoted + b"\n\n")
    return _item(archive, one, MBOX, hashlib.sha256(plain).hexdigest(), offset=offset, length=len(quoted))


def _copy(archive: Archive, one: Handout, folder: Path) -> Item:
    suffix = {MAIL: "eml", RECORDING: "flac"}.get(one.kind, "bin")
    name = f"{one.kind}s/{one.started.astimezone(UTC):%Y%m%d-%H%M%S}-{one.id}.{suffix}"
    path = folder / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    digest, reader = hashlib.sha256(), archive.open(one.blob)
    try:
        with path.open("xb") as file:
            while chunk := reader.read(_COPY_BYTES):
                digest.update(chunk)
                file.write(chunk)
    except CardlineError:
        path.unlink(missing_ok=True)
        raise
    return _item(archive, one, name, digest.hexdigest())


def _item(
    archive: Archive, one: Handout, file: str, sha256: str, *, offset: int | None = None, length: int | None = None
) -> Item:
    assert one.blob.wrapped_key is not None
    secret = archive.keys.unwrap(one.blob.master_key, one.blob.wrapped_key)
    return Item(
        file=file,
        offset=offset,
        length=length,
        sha256=sha256,
        salt=secret[_KEY_BYTES:].hex(),
        sequence=one.sequence,
        kind=one.kind,
        interaction=one.interaction_id,
        started=instant(one.started),
        source=one.source,
    )


def _write_transcript(folder: Path, number: int, utterances: Sequence[Utterance]) -> dict[str, str]:
    """What a model understood; a help for reading and no evidence, so it has no place in the chain."""
    name = f"transcripts/{number}.txt"
    (folder / name).parent.mkdir(mode=0o700, exist_ok=True)
    lines = [f"[{one.start:9.2f}] {one.channel}: {one.text}\n" for one in utterances]
    content = "".join(lines).encode()
    (folder / name).write_bytes(content)
    return {"file": name, "sha256": hashlib.sha256(content).hexdigest()}


def _write_manifest(
    folder: Path, subject: str, items: Sequence[Item], others: Sequence[dict[str, str]], missing: Sequence[str]
) -> None:
    fields = {
        "v": 1,
        "kind": HANDOUT_KIND,
        "made": instant(datetime.now(UTC)),
        "subject": subject,
        "items": [asdict(item) for item in items],
        "others": list(others),
        "missing": list(missing),
    }
    (folder / MANIFEST).write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n")
