"""Folders of recordings as PBXs leave them, and what is in the database afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from sqlalchemy import text

from agent.sip.imports.importer import Importer
from agent.sip.imports.report import Report
from agent.sip.imports.run import import_folder
from agent.store.engine import Store
from tests.unit.soundfiles import wav_bytes
from tests.unit.soundlab import chirps

MOSCOW = ZoneInfo("Europe/Moscow")
EPOCH = 1772442000  # 2026-03-02 12:00:00 in Moscow


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A recorded call: its file, and its line of Master.csv."""

    path: Path
    unique_id: str
    record: str


def make_call(folder: Path, number: int, *, seconds: float = 1.0, stereo: bool = True, kind: str = "external") -> Made:
    """The ``number``-th call of a day, in a FreePBX's folder of that day; all of them sound different."""
    began = datetime.fromtimestamp(EPOCH + number * 60, UTC).astimezone(MOSCOW)
    unique_id = f"{EPOCH + number * 60}.{number}"
    client = f"7495{number:07d}"
    day = folder / f"{began:%Y/%m/%d}"
    day.mkdir(parents=True, exist_ok=True)
    path = day / f"{kind}-101-{client}-{began:%Y%m%d-%H%M%S}-{unique_id}.wav"
    path.write_bytes(sound_of(number, seconds=seconds, stereo=stereo))
    quiet(path)
    return Made(path=path, unique_id=unique_id, record=record_of(number, seconds=seconds))


def sound_of(number: int, *, seconds: float = 1.0, stereo: bool = True) -> bytes:
    """A WAV that no other number has."""
    one, other = chirps(seconds, seed=2 * number), chirps(seconds, seed=2 * number + 1)
    return wav_bytes(np.stack([one, other], axis=1) if stereo else one)


def record_of(number: int, *, seconds: float = 1.0, answered: bool = True) -> str:
    """The line of Master.csv of this call."""
    began = datetime.fromtimestamp(EPOCH + number * 60, UTC).astimezone(MOSCOW)
    answer = began + timedelta(seconds=4)
    end = answer + timedelta(seconds=round(seconds))
    form = "%Y-%m-%d %H:%M:%S"
    cells = [
        "", f"7495{number:07d}", "101", "from-did-direct", f'"""Client {number}"" <7495{number:07d}>"',
        "PJSIP/trunk-0000002a", "PJSIP/101-0000002b", "Dial", '"PJSIP/101,20"', f"{began:{form}}",
        f"{answer:{form}}" if answered else "", f"{end:{form}}", str(4 + round(seconds)),
        str(round(seconds) if answered else 0), "ANSWERED" if answered else "NO ANSWER", "DOCUMENTATION",
        f"{EPOCH + number * 60}.{number}", "",
    ]  # fmt: skip
    return ",".join(cells) + "\n"


def quiet(path: Path, seconds: float = 3600) -> None:
    """As if it had been written that long ago."""
    at = time.time() - seconds
    os.utime(path, (at, at))


async def take_in(importer: Importer, cdr: Path | None = None, **more: Any) -> Report:
    """One import."""
    report = Report()
    with report:
        await import_folder(importer, report, zone=MOSCOW, cdr=cdr, **more)
    return report


async def rows(store: Store, query: str, **values: Any) -> Sequence[Any]:
    """What the database says."""
    async with store.begin() as connection:
        return (await connection.execute(text(query), values)).all()


async def calls_of(store: Store, source: str) -> list[tuple[str, int]]:
    """Key and number of recordings of each call that a source told of."""
    query = """
        SELECT e.key, (SELECT count(*) FROM recording r WHERE r.interaction_id = e.interaction_id) AS recordings
        FROM evidence e WHERE e.source = :source AND e.blob_id IS NULL ORDER BY e.key
    """
    return [(row.key, row.recordings) for row in await rows(store, query, source=source)]
