"""The composition root of the main process: the one file that knows everybody.

`Service` says which parts the main process has (SIP, SMTP, mailboxes, pages, the embedded database, the children that
work) and in which order they start and stop. `agent.worker` does the same for a worker process.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog

from agent import jobs
from agent.archive.chain import Chainer
from agent.archive.retention import Retention
from agent.errors import Unavailable
from agent.mail.imap import Mailbox
from agent.mail.imap.oauth import Logins
from agent.mail.imap.tokens import TokenStore
from agent.mail.smtp import SmtpServer
from agent.model import SourceState
from agent.parts import Parts, database, prepare_data_dir
from agent.processes import ChildProcess, keep_heap_small
from agent.settings import Settings
from agent.sip.asterisk.source import AsteriskSource
from agent.sip.commands import CommandDesk
from agent.sip.courierprocess import CourierProcess
from agent.sip.lines.linecalls import KeyRules
from agent.sip.lines.supervisor import Lines
from agent.sip.pauser import Pauser
from agent.sip.presence import Presence
from agent.sip.proposing import Proposer, listers_of
from agent.sip.providers.polling import Poller
from agent.sip.providers.presets import providers_of
from agent.sip.providers.reading import NotificationReader
from agent.sip.recorder import CaptureEvent, CaptureEventKind, Recorder
from agent.sip.siprec import RecordingServer
from agent.sip.taps import Taps
from agent.store import accounts, sources
from agent.store.commands import CommandKind
from agent.store.embedded import Lock
from agent.store.engine import Store
from agent.store.migrate import migrate
from agent.store.notices import COMMANDS, Notices
from agent.web.binding import open_socket, until_served
from agent.worker import KINDS
from linker.pacing import CrmPacer

log = structlog.get_logger()

_RETRY_SECONDS = 2.0
_STALLED_CHECK_SECONDS = 5.0
_MOST_PAGE_PROCESSES = 4


class Service:
    """The main process: everything that listens, and the children that work."""

    def __init__(self, settings: Settings, *, config: Path | None = None) -> None:
        """``config`` is the file the settings were read from; the children read it again."""
        self._settings = settings
        self._config = config.absolute() if config is not None else None
        self._stopping = asyncio.Event()
        self._stack = AsyncExitStack()
        self._siprec: RecordingServer | None = None
        self._taps: Taps | None = None
        self._lines: Lines | None = None
        self._asterisk: list[AsteriskSource] = []
        self._desk: CommandDesk | None = None
        self._poller: Poller | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.addresses: dict[str, list[str | int]] = {}

    async def run(self) -> None:
        """Start, serve until SIGTERM or SIGINT, stop in the reverse order."""
        keep_heap_small()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        async with self._stack:
            await self._start()
            await self._stopping.wait()
            log.info("service_stopping")
            self._address_file.unlink(missing_ok=True)
        log.info("service_stopped")

    @property
    def _address_file(self) -> Path:
        return self._settings.data_dir / "service.json"

    async def _start(self) -> None:
        settings = self._settings
        prepare_data_dir(settings)
        self._address_file.unlink(missing_ok=True)
        self._stack.callback(Lock(settings.data_dir / "service.lock").release)
        url = await self._stack.enter_async_context(database(settings))
        parts = Parts(settings, url)
        notices = Notices(url)
        self._stack.push_async_callback(parts.close)
        parts.archive.sweep()
        self._stack.push_async_callback(self._cancel_tasks)
        if settings.siprec.enabled or settings.sip.line or settings.asterisk:
            recorder, courier = await self._start_recorder(parts, notices)
            if settings.siprec.enabled:
                await self._start_siprec(recorder, courier)
            self._start_lines()
            self._start_asterisk()
        if settings.smtp.enabled:
            await self._start_smtp(parts)
        if settings.provider:
            known = providers_of(settings)
            reader = NotificationReader(parts.store, parts.archive, parts.intake, known)
            self._poller = Poller(parts.store, reader, known)
        if settings.web.enabled:
            await self._start_pages(url)
        self._background(self._start_what_needs_the_database(parts, notices))
        self._announce()
        if not parts.archive.keys.is_confirmed:
            log.warning(
                "master_keys_not_saved_elsewhere", remedy="Run `cardline keys show`, then `cardline keys confirm`."
            )

    async def _start_what_needs_the_database(self, parts: Parts, notices: Notices) -> None:
        """Where a database of one's own is away, calls are recorded all the same, and this part waits."""
        url = parts.store.url
        await _when_available(lambda: migrate(url))
        await _when_available(partial(_warn_if_nobody_can_log_in, parts.store))
        self._background(notices.run())
        self._background(Presence(parts.store, self._settings.host).run())
        if self._desk is not None:
            self._background(self._desk.run())
        for source in self.addresses.keys() - {"siprec_tls", "smtp_tls"}:  # second doors of the same sources
            await _when_available(partial(_save_state, parts.store, source, SourceState.RUNNING, ""))
        if self._poller is not None:
            self._background(self._poller.run())
        self._background(Proposer(parts.store, listers_of(self._settings)).run())
        if self._lines is not None:
            self._lines.watch(self._note_source(parts.store))
        for asterisk in self._asterisk:
            asterisk.watch(self._note_source(parts.store))
        await self._start_mailboxes(parts)
        await self._start_following(url)
        await self._start_workers(url)
        self._background(CrmPacer(parts.store, self._settings).run())
        self._background(Chainer(parts.store).run())
        self._background(Retention(parts.store, jobs.retain).run())
        if self._settings.seal.enabled:
            self._background(parts.notary().run())
        self._background(parts.rereader().run())
        if web := self.addresses.get("web"):
            await until_served(str(web[0]), int(web[1]))
        log.info("service_ready")

    async def _start_recorder(self, parts: Parts, notices: Notices) -> tuple[Recorder, CourierProcess]:
        """What all sources of calls share: capture, courier, commands, and the taps of those that tell calls whole."""
        settings, captures = self._settings, self._settings.data_dir / "captures"
        courier = CourierProcess(captures, environment=self._environment(parts.store.url))
        recorder = Recorder(
            captures,
            address=settings.siprec.listen,
            ports=settings.siprec.rtp_ports,
            on_event=self._on_capture_event,
            mask_dtmf=settings.siprec.mask_dtmf,
            codes=_codes(settings),
        )
        self._taps = Taps(recorder, courier, captures)
        self._desk = CommandDesk(parts.store, Pauser(recorder, self._taps), captures, host=settings.host)
        notices.listen(COMMANDS, self._desk.hear)
        await courier.start()
        self._stack.push_async_callback(courier.stop)
        await courier.recover()
        await recorder.start()
        self._stack.push_async_callback(recorder.stop)
        self._stack.push_async_callback(self._taps.stop)
        return recorder, courier

    async def _start_siprec(self, recorder: Recorder, courier: CourierProcess) -> None:
        self._siprec = RecordingServer(
            self._settings.siprec, recorder, courier, self._settings.data_dir, keys=self._key_rules
        )
        await self._siprec.start()
        self._stack.push_async_callback(self._siprec.stop)
        self.addresses["siprec"] = list(self._siprec.address)
        if self._siprec.tls_address is not None:
            self.addresses["siprec_tls"] = list(self._siprec.tls_address)

    def _start_lines(self) -> None:
        assert self._taps is not None
        self._lines = Lines(self._settings.sip, self._taps, keys=self._key_rules)
        self._lines.start()
        self._stack.push_async_callback(self._lines.stop)

    def _start_asterisk(self) -> None:
        assert self._taps is not None
        digits = self._settings.extension_digits
        for settings in self._settings.asterisk:
            source = AsteriskSource(settings, self._taps, digits=digits, keys=self._key_rules)
            source.start()
            self._stack.push_async_callback(source.stop)
            self._asterisk.append(source)

    @property
    def _key_rules(self) -> KeyRules:
        """What is done about keys pressed where no packets tell of them."""
        mask, codes = self._settings.siprec.mask_dtmf, _codes(self._settings)
        return KeyRules(mask=mask, codes=codes, on_code=self._on_code)

    def _on_capture_event(self, event: CaptureEvent) -> None:
        if event.kind is CaptureEventKind.CODE and event.capture_id is not None:
            self._on_code(event.capture_id, event.text, event.at)
        if event.kind is not CaptureEventKind.FIRST_PACKET or event.capture_id is None or event.stream is None:
            return
        if self._taps is not None and (tap := self._taps.find(event.capture_id)):
            tap.heard.add(event.stream)
        elif self._siprec is not None:
            self._siprec.first_packet(event.capture_id, event.stream)

    def _on_code(self, capture_id: str, name: str, at: datetime) -> None:
        if self._desk is not None:
            self._desk.enter(capture_id, CommandKind(name), at)

    async def _start_smtp(self, parts: Parts) -> None:
        server = SmtpServer(self._settings.smtp, parts.intake)
        await server.start()
        self._stack.push_async_callback(server.stop)
        self.addresses["smtp"] = [self._settings.smtp.listen, server.port]
        if server.tls_port is not None:
            self.addresses["smtp_tls"] = [self._settings.smtp.listen, server.tls_port]

    async def _start_pages(self, url: str) -> None:
        """The socket is ours and outlives the processes that serve it."""
        listening = open_socket(self._settings.web)
        self._stack.callback(listening.close)
        self.addresses["web"] = list(listening.getsockname()[:2])
        arguments, environment = ["agent.pageserver", str(listening.fileno())], self._environment(url)
        for _ in range(self._settings.web.processes or min(os.cpu_count() or 1, _MOST_PAGE_PROCESSES)):
            child = ChildProcess("pages", arguments, environment=environment, descriptors=[listening.fileno()])
            await child.start()
            self._stack.push_async_callback(child.stop)

    async def _start_mailboxes(self, parts: Parts) -> None:
        logins = Logins(TokenStore(self._settings.data_dir / "tokens", parts.archive.keys))
        for settings in self._settings.mailbox:
            mailbox = Mailbox(
                settings,
                parts.intake,
                parts.store,
                on_state=self._note_mailbox(parts.store),
                token=logins.source(settings),
                folder=self._settings.data_dir,
            )
            mailbox.start()
            self._stack.push_async_callback(mailbox.stop)

    async def _start_following(self, url: str) -> None:
        """Folders of recordings, in a process of their own."""
        if self._settings.recordings:
            child = ChildProcess("recordings", ["agent.sip.imports.child"], environment=self._environment(url))
            await child.start()
            self._stack.push_async_callback(child.stop)

    async def _start_workers(self, url: str) -> None:
        """Children that do the durable jobs; first, jobs of workers that died with the last run are taken back."""
        if not self._settings.database.url.get_secret_value():
            await _when_available(partial(_forget_workers, url))
        self._background(_take_back_stalled(url))
        environment = self._environment(url)
        for kind in KINDS:
            if getattr(self._settings.jobs, kind) and (kind != "crm" or self._settings.crm):
                child = ChildProcess(kind, ["agent.worker", kind], environment=environment)
                await child.start()
                self._stack.push_async_callback(child.stop)

    def _environment(self, url: str) -> dict[str, str]:
        """What a child needs to have our settings and our database."""
        return {"CARDLINE_DATABASE__URL": url, "CARDLINE_CONFIG": str(self._config or "")}

    def _note_mailbox(self, store: Store) -> Callable[[str, SourceState, str], None]:
        note = self._note_source(store)
        return lambda mailbox, state, detail: note(f"imap:{mailbox}", state, detail)

    def _note_source(self, store: Store) -> Callable[[str, SourceState, str], None]:
        """Note a state, from any thread, without waiting for it; states are saved in the order they are noted."""
        loop, turn = asyncio.get_running_loop(), asyncio.Lock()

        async def save(source: str, state: SourceState, detail: str) -> None:
            async with turn:
                await _logged(_save_state(store, source, state, detail))

        def note(source: str, state: SourceState, detail: str) -> None:
            loop.call_soon_threadsafe(lambda: self._background(save(source, state, detail)))

        return note

    def _background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background_part_failed", error=str(error), exc_info=error)
            self._stopping.set()

    async def _cancel_tasks(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _announce(self) -> None:
        """Say where everything listens: in the log, and in a file for whoever started us with port 0."""
        partial = self._address_file.with_suffix(".partial")
        partial.write_text(json.dumps({"pid": os.getpid(), **self.addresses}))
        partial.replace(self._address_file)
        log.info("service_started", **self.addresses)


def _codes(settings: Settings) -> dict[str, str]:
    """What whoever speaks may have done by keys."""
    found = {settings.siprec.pause_keys: CommandKind.PAUSE, settings.siprec.resume_keys: CommandKind.RESUME}
    return {keys: kind.value for keys, kind in found.items() if keys}


async def _when_available(attempt: Callable[[], Awaitable[None]]) -> None:
    """Try until the database answers."""
    while True:
        try:
            await attempt()
        except Unavailable as error:
            log.warning("database_awaited", reason=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return


async def _warn_if_nobody_can_log_in(store: Store) -> None:
    async with store.begin() as connection:
        if await accounts.count_accounts(connection):
            return
    log.warning("nobody_can_log_in", remedy="Run `cardline user invite LOGIN --role administrator`.")


async def _save_state(store: Store, source: str, state: SourceState, detail: str) -> None:
    async with store.begin() as connection:
        await sources.save_status(connection, source, state, detail)


async def _logged(work: Coroutine[None, None, None]) -> None:
    """A state that could not be noted is not worth stopping for; the next one will be."""
    try:
        await work
    except Unavailable as error:
        log.warning("source_state_not_noted", reason=str(error))


async def _forget_workers(url: str) -> None:
    """With the embedded database all workers are children of this very process, and none is alive yet.

    So no heartbeat has to run out before the jobs of the last run's workers are taken back.
    """
    app = jobs.make_app(url)
    async with app.open_async():
        await app.job_manager.prune_stalled_workers(seconds_since_heartbeat=0)


async def _take_back_stalled(url: str) -> None:
    """Give the jobs of dead workers to living ones, for as long as the service runs."""
    app = jobs.make_app(url)
    while True:
        try:
            async with app.open_async():
                while True:
                    await jobs.retry_stalled(app)
                    await asyncio.sleep(_STALLED_CHECK_SECONDS)
        except Exception as error:  # most likely the database is away: no reason to stop recording
            log.warning("stalled_jobs_not_looked_for", reason=str(error))
            await asyncio.sleep(_STALLED_CHECK_SECONDS)
