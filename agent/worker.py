"""A worker process: durable jobs taken from the database, done, and taken again until the parent is gone.

There are three kinds, so that an hour of speech or a slow CRM never holds up a mail: ``general`` parses, links and
assembles, ``speech`` transcribes, ``crm`` speaks to CRMs. A worker may run on any machine that reaches database and
archive. The service starts its own as ``python -m agent.worker <kind>``, which loads nothing of the command line.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import procrastinate
import structlog

from agent import jobs
from agent.errors import CardlineError, Misconfigured
from agent.logs import configure_logging
from agent.parts import Parts
from agent.processes import keep_heap_small, keep_heap_warm, leave_with_parent, use_huge_pages
from agent.settings import Settings, load_settings

log = structlog.get_logger()

KINDS = ("general", "speech", "crm")
_AT_ONCE = {"general": 4, "crm": 8}
_NICENESS = 10  # signalling and capture of calls, on the same machine, go first
_IDLE_SECONDS = 5.0  # PostgreSQL's NOTIFY wakes a worker at once; this is for the notice that got lost


_Equip = Callable[[procrastinate.App, Parts], Awaitable[list[str]]]


async def run_worker(settings: Settings, kind: str, *, beside_service: bool = False) -> None:
    """Work until SIGTERM. ``beside_service``: as a child of the service, which may record calls on this machine.

    Raises:
        Misconfigured: there is no such kind, or no database to take jobs from.
    """
    url = settings.database.url.get_secret_value()
    if not url:
        raise Misconfigured(
            "A worker on its own needs a database to take jobs from.",
            remedy="Set database.url, or run `cardline run`, which starts its own workers.",
        )
    os.nice(settings.transcribe.niceness if kind == "speech" else _NICENESS)
    parts = Parts(settings, url)
    app = jobs.make_app(url, redoable=kind == "general")
    equip: dict[str, _Equip] = {"speech": partial(_equip_speech, beside_service=beside_service), "crm": _equip_crm}
    queues = await equip.get(kind, _equip_general)(app, parts)
    async with app.open_async():
        log.info("worker_started", kind=kind, queues=queues)
        await app.run_worker_async(
            queues=queues,
            name=kind,
            concurrency=_AT_ONCE.get(kind, settings.transcribe.calls_at_once),
            delete_jobs="successful",
            fetch_job_polling_interval=_IDLE_SECONDS,
            update_heartbeat_interval=jobs.HEARTBEAT_SECONDS,
            stalled_worker_timeout=jobs.STALLED_SECONDS,
            shutdown_graceful_timeout=10.0,
        )
    await parts.close()


class _AtFirst:
    """A handler that is made when its first job comes: numpy, FFmpeg and clients of providers take 25 MB, and most
    workers never need them."""

    def __init__(self, make: Callable[[], Callable[..., Awaitable[None]]]) -> None:
        self._make = make
        self._turn = asyncio.Lock()
        self._made: Callable[..., Awaitable[None]] | None = None

    async def __call__(self, **arguments: Any) -> None:
        async with self._turn:
            if self._made is None:
                self._made = await asyncio.to_thread(self._make)
        await self._made(**arguments)


async def _equip_general(app: procrastinate.App, parts: Parts) -> list[str]:
    from agent.archive.outposts import Outposts
    from agent.archive.retention import Retention
    from agent.mail.attachments.extractor import Extractor
    from agent.mail.attachments.reading import AttachmentReader
    from agent.mail.parser import Parser
    from agent.mail.sandbox import Sandbox
    from agent.store.searchindex import Indexer
    from agent.transcribe.masks.remasking import Remasker
    from linker.importing import CardImporter
    from linker.link import Linker
    from linker.resort import Resorter

    settings = parts.settings
    jobs.register(app, jobs.PARSE, Parser(parts.store, parts.archive, parts.intake, Sandbox()).parse)
    words = Extractor(parts.store, parts.archive, AttachmentReader())
    jobs.register(app, jobs.EXTRACT_WORDS, words.extract)
    jobs.register(app, jobs.INDEX, Indexer(parts.store).index)
    linker = Linker(parts.store, settings)
    jobs.register(app, jobs.LINK, linker.link)
    jobs.register(app, jobs.IMPORT_CARDS, CardImporter(parts.store, linker).take_in)
    jobs.register(app, jobs.RESORT, Resorter(parts.store, linker).resort)
    jobs.register(app, jobs.MASK, Remasker(parts.store).mask_again)
    jobs.register(app, jobs.MEASURE, _AtFirst(lambda: _measuring(parts)))
    jobs.register(app, jobs.CARRY_SEAL, Outposts(parts.store, settings.seal).carry)
    jobs.register(app, jobs.RETAIN, Retention(parts.store, jobs.retain).retain)
    jobs.register(app, jobs.ASSEMBLE, _AtFirst(lambda: _assembling(parts)))
    jobs.register(app, jobs.READ_NOTIFICATIONS, _AtFirst(lambda: _reading_notifications(parts)))
    jobs.register(app, jobs.SEAL_TOLD, _AtFirst(lambda: _sealing_told(parts)))
    jobs.register(app, jobs.FETCH_RECORDINGS, _AtFirst(lambda: _fetching(parts)))
    mine: Mapping[str, str] = {one: one for one in ("parse", "words", "index", "link")} | {
        "host": jobs.host_queue(settings.host)
    }
    return [mine[name] for name in settings.jobs.queues] or list(mine.values())


def _measuring(parts: Parts) -> Callable[..., Awaitable[None]]:
    from agent.transcribe.afterwards import Remeasurer

    return Remeasurer(parts.store).measure


def _assembling(parts: Parts) -> Callable[..., Awaitable[None]]:
    from agent.sip.assembler import Assembler

    return Assembler(parts.store, parts.archive, parts.settings.data_dir / "captures").assemble


def _reading_notifications(parts: Parts) -> Callable[..., Awaitable[None]]:
    from agent.sip.providers.presets import providers_of
    from agent.sip.providers.reading import NotificationReader

    return NotificationReader(parts.store, parts.archive, parts.intake, providers_of(parts.settings)).read


def _sealing_told(parts: Parts) -> Callable[..., Awaitable[None]]:
    from agent.sip.providers.sealing import ToldSealer

    return ToldSealer(parts.store, parts.archive).seal


def _fetching(parts: Parts) -> Callable[..., Awaitable[None]]:
    from agent.sip.providers.fetching import RecordingFetcher
    from agent.sip.providers.presets import providers_of

    fetched = parts.settings.data_dir / "fetched"
    known = providers_of(parts.settings)
    return RecordingFetcher(parts.store, parts.archive, parts.intake, known, fetched).fetch


async def _equip_speech(app: procrastinate.App, parts: Parts, *, beside_service: bool) -> list[str]:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy reads it when loaded; transcription counts its threads
    from agent.transcribe.transcriber import Transcriber

    transcriber = Transcriber(parts.store, parts.archive, parts.settings, beside_service=beside_service)
    jobs.register(app, jobs.TRANSCRIBE, transcriber.transcribe)
    parts.beside(_at_the_end(transcriber.close))
    if parts.settings.transcribe.live:
        from agent.sip.ongoing import OngoingCalls

        listener = transcriber.listener(OngoingCalls(parts.settings.data_dir / "captures"))
        parts.beside(listener.run())
    return [jobs.SPEECH_QUEUE]


async def _at_the_end(close: Callable[[], Awaitable[None]]) -> None:
    """Close it when the worker ends: native threads that are left to the end of the interpreter abort the process."""
    try:
        await asyncio.Event().wait()
    finally:
        await close()


async def _equip_crm(app: procrastinate.App, parts: Parts) -> list[str]:
    from linker.crm.connected import Crms
    from linker.deliver import Deliverer
    from linker.mirror import MirrorReader

    if not parts.settings.crm:
        raise Misconfigured("There is no CRM to speak to.", remedy="Add a [[crm]] table to cardline.toml.")
    crms = Crms(parts.store, parts.settings, parts.archive.keys)
    deliverer = Deliverer(parts.store, parts.archive, crms, public_url=parts.settings.web.public_url)
    jobs.register(app, jobs.DELIVER, deliverer.deliver)
    jobs.register(app, jobs.READ_CRM, MirrorReader(parts.store, crms).read)
    return [jobs.crm_queue(one.name) for one in parts.settings.crm]


def suit_memory(kind: str) -> None:
    """Tell the allocator what this kind of worker needs; to be said first of all, as it may begin the process anew."""
    if kind == "speech":
        use_huge_pages()
        keep_heap_warm()
    else:
        keep_heap_small()


def main() -> None:
    """A worker of the service. Settings come from the file in CARDLINE_CONFIG and from variables, the URL of the
    database among them."""
    config = os.environ.get("CARDLINE_CONFIG")
    suit_memory(sys.argv[1])
    try:
        settings = load_settings(Path(config) if config else None)
        configure_logging(settings.log_format)
        leave_with_parent()
        asyncio.run(run_worker(settings, sys.argv[1], beside_service=True))
    except CardlineError as error:
        sys.exit(f"cardline: {error}")


if __name__ == "__main__":
    main()
