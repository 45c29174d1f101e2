"""What the page of a call says of its texts beside the words: which model, what was masked, what waits for a person."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import masks, retranscribing, talks, transcriptions
from agent.store.callparts import CallPart
from agent.store.masks import Masked
from agent.store.retranscribing import OpenCorrection, Version
from agent.store.transcriptions import Progress
from agent.web.services import login_of
from agent.web.shown import Sound
from agent.web.talkview import TalkView, talk_view

_MOST_DROPPED = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedLine:
    """What the model wrote and nobody believed; ``who`` is the voice of its channel."""

    start: float
    who: str
    text: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Of one recording. ``looked_at`` is the transcript on the page, ``shown`` the one that everybody sees."""

    talk: TalkView | None = None
    versions: tuple[Version, ...] = ()
    looked_at: int = 0
    waiting: tuple[OpenCorrection, ...] = ()
    masked: tuple[Masked, ...] = ()
    dropped: tuple[DroppedLine, ...] = ()
    progress: Progress | None = None
    is_measured: bool = False

    @property
    def shown(self) -> int:
        """0: there is none."""
        return self.versions[0].id if self.versions else 0

    @property
    def hushed(self) -> str:
        """Where the player keeps quiet, for its element: ``1.20-3.40 …``."""
        return " ".join(f"{one.start_ms / 1000:.2f}-{one.end_ms / 1000:.2f}" for one in self.masked)


def chosen_transcript(request: web.Request) -> int:
    """The transcript that somebody wants to look at; 0: the one that is shown."""
    text = request.query.get("transcript", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


async def load_readings(
    request: web.Request, connection: AsyncConnection, sounds: Sequence[Sound], has: Container[CallPart]
) -> Mapping[int, Reading]:
    """By recording; ``has`` says what there is to be asked for."""
    ids = [one.id for one in sounds]
    if not ids:
        return {}
    sees_dropped = login_of(request).viewer.supervises
    measured = await talks.list_talks(connection, ids) if CallPart.TALKS in has else {}
    versions = await retranscribing.list_versions(connection, ids)
    looked_at = [one.transcript_id for one in sounds if one.transcript_id]
    waiting: dict[int, list[OpenCorrection]] = {}
    hidden: dict[int, list[Masked]] = {}
    if looked_at and CallPart.MASKS in has:
        hidden = await masks.list_masks(connection, looked_at)
    if looked_at and CallPart.CORRECTIONS in has:
        for one in await retranscribing.list_open(connection, looked_at):
            waiting.setdefault(one.transcript_id, []).append(one)
    doing = await transcriptions.list_progress(connection, ids) if CallPart.PROGRESS in has else {}
    found = {}
    for sound in sounds:
        own = tuple(versions.get(sound.id, ()))
        talk = measured.get(sound.id)
        found[sound.id] = Reading(
            talk=talk_view(talk, sound.voices) if talk is not None else None,
            versions=own,
            looked_at=sound.transcript_id,
            waiting=tuple(waiting.get(sound.transcript_id, ())),
            masked=tuple(hidden.get(sound.transcript_id, ())),
            dropped=_dropped(own, sound) if sees_dropped else (),
            progress=doing.get(sound.id),
            is_measured=talk is not None,
        )
    return found


def _dropped(versions: Sequence[Version], sound: Sound) -> tuple[DroppedLine, ...]:
    names = {one.channel: one.name for one in sound.voices}
    return tuple(
        DroppedLine(
            start=float(one.get("start", 0)),
            who=names.get(int(one.get("channel", -1)), ""),
            text=str(one.get("text", "")),
            reason=str(one.get("reason", "")),
        )
        for version in versions
        if version.id == sound.transcript_id
        for one in version.dropped[:_MOST_DROPPED]
    )
