"""`cardline demo`: a service of its own, real calls over SIP and RTP, real mails over SMTP and IMAP, and the outcome.

It is the program's main job done once, on sound and mail that are really sent, with nothing taken from the inside but
the reading of the result.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import signal
import smtplib
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console

from agent.demo import scene
from agent.demo.dovecot import PASSWORD, USER, Dovecot, start_dovecot
from agent.demo.mails import StagedMail, stage_mails
from agent.demo.report import Outcome, history_table, judge_call, judge_mail, judge_thread, read_histories
from agent.demo.scene import StagedCall, stage_calls
from agent.demo.siprec_client import play_call
from agent.demo.tryton import DemoTryton, start_tryton
from agent.errors import CardlineError, Misconfigured, Unavailable
from agent.model import UserRole
from agent.parts import reach_database
from agent.settings import Settings, load_settings
from agent.store import accounts, cards, connectors, deliveries, employees, interactions, outbox, undelivered
from agent.store.engine import Store
from linker.link import Linker

console = Console()

_START_SECONDS = 90
_ARRIVE_SECONDS = 120
_JOURNAL = "journal@cardline.example.com"


async def run_demo(*, check: bool, data_dir: Path | None = None, crm: str = "") -> int:
    """Run it; returns the exit code. With ``check`` it ends and cleans up, else it serves the pages until Ctrl-C."""
    folder = data_dir or Path(tempfile.mkdtemp(prefix="cardline-demo-", dir="/var/tmp"))
    ended = asyncio.current_task()
    assert ended is not None
    for number in (signal.SIGHUP, signal.SIGTERM):  # a terminal that is closed: else the service would stay behind
        asyncio.get_running_loop().add_signal_handler(number, ended.cancel)
    async with AsyncExitStack() as stack:
        if data_dir is None:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        demo = Demo(folder, crm=crm)
        await demo.start(stack)
        outcomes = await demo.play()
        await demo.show(outcomes)
        outcomes += await demo.tell_crm()
        is_complete = not any(one.missing for one in outcomes)
        if check or not is_complete:
            return 0 if is_complete else 1
        await demo.serve_until_stopped()
        return 0


class Demo:
    """One run in one folder."""

    def __init__(self, folder: Path, *, crm: str = "") -> None:
        self._folder = folder
        self._crm = crm
        self._tryton: DemoTryton | None = None
        self._password = secrets.token_urlsafe(9)
        self._dovecot: Dovecot | None = None
        self._service: asyncio.subprocess.Process | None = None
        self._settings: Settings | None = None
        self._store: Store | None = None
        self._addresses: dict[str, tuple[str, int]] = {}
        self._began = time.monotonic()

    async def start(self, stack: AsyncExitStack) -> None:
        """Dovecot where it is installed, then the service with a configuration of its own, then people and cards."""
        self._dovecot = await start_dovecot(self._folder / "dovecot")
        if self._dovecot is not None:
            stack.callback(self._dovecot.kill)
            self._say("A mail server (Dovecot) for the demo's mailbox runs.")
        else:
            self._say("Dovecot is not installed (apt-get install dovecot-imapd): all mails come by SMTP.")
        if self._crm == "tryton":
            self._say("Tryton makes its database, which takes a while.")
            self._tryton = await start_tryton(self._folder / "tryton")
            stack.push_async_callback(self._tryton.stop)
        elif self._crm:
            raise Misconfigured(f"The demo has no CRM called {self._crm}.", remedy="It has tryton.")
        config = self._folder / "cardline.toml"
        config.write_text(self._configuration())
        self._settings = load_settings(config)
        stack.push_async_callback(self._stop_service)
        await self._start_service(config)
        url = await stack.enter_async_context(reach_database(self._settings))
        self._store = Store(url)
        stack.push_async_callback(self._store.close)
        await self._people(self._store, self._settings)
        self._say("The service runs; two employees and two client cards are there.")

    def _configuration(self) -> str:
        lines = [
            f'data_dir = "{self._folder}"',
            'region = "RU"',
            'siprec = { listen = "127.0.0.1", port = 0, rtp_ports = [41000, 41999] }',
            'smtp = { listen = "127.0.0.1", port = 0, hostname = "cardline.example.com" }',
            'web = { listen = "127.0.0.1", port = 0 }',
            'transcribe = { model = "tiny-demo" }',
        ]
        if self._dovecot is not None:
            lines += [
                "[[mailbox]]",
                f'name = "Anna"\nhost = "127.0.0.1"\nport = {self._dovecot.port}\ntls = false',
                f'user = "{USER}"\npassword = "{PASSWORD}"\npoll_seconds = 1',
            ]
        lines += self._tryton.configuration() if self._tryton is not None else []
        return "\n".join(lines) + "\n"

    async def _start_service(self, config: Path) -> None:
        with (self._folder / "service.log").open("ab") as log_file:
            self._service = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "agent.cli",
                "--config",
                str(config),
                "run",
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
            )
        await self._until(self._is_ready, _START_SECONDS, "the service to start")
        found = json.loads((self._folder / "service.json").read_text())
        self._addresses = {name: (at[0], at[1]) for name, at in found.items() if isinstance(at, list)}

    async def _is_ready(self) -> bool:
        assert self._service is not None
        if self._service.returncode is not None:
            raise CardlineError("The service ended instead of starting.", remedy=self._last_words())
        return "service_ready" in (self._folder / "service.log").read_text(errors="replace")

    def _last_words(self) -> str:
        return "\n".join((self._folder / "service.log").read_text(errors="replace").splitlines()[-12:])

    async def _stop_service(self) -> None:
        if self._service is not None and self._service.returncode is None:
            self._service.send_signal(signal.SIGTERM)
            await self._service.wait()

    async def _people(self, store: Store, settings: Settings) -> None:
        linker = Linker(store, settings)
        async with store.begin() as connection:
            for one in scene.EMPLOYEES:
                employee_id = await employees.insert_employee(connection, one.name)
                for identity in (linker.phone(one.extension), linker.address(one.address)):
                    assert identity is not None
                    await employees.insert_identity(connection, employee_id, identity)
            for client in scene.CLIENTS:
                card_id = await cards.insert_card(connection, client.name)
                for identity, label in (
                    (linker.phone(client.phone), "mobile"),
                    (linker.address(client.address), "work"),
                ):
                    assert identity is not None
                    await cards.insert_contact_point(connection, card_id, identity, label=label)
            await accounts.insert_account(
                connection, scene.ADMINISTRATOR, "Demo", self._password, UserRole.ADMINISTRATOR
            )

    # --- The play ---------------------------------------------------------------------------------------------------

    async def play(self) -> list[Outcome]:
        """All calls at once, the mails meanwhile, and wait until everything stands where it must."""
        calls = stage_calls()
        mails = stage_mails(with_imap=self._dovecot is not None, salt=secrets.token_hex(6))
        await asyncio.gather(*(self._place(one) for one in calls), *(self._send(one) for one in mails))
        self._say("All calls have ended, all mails are sent. Waiting for recordings, transcripts and links …")
        judged: list[Outcome] = []
        told: set[str] = set()

        async def everything_stands() -> bool:
            judged[:] = await self._judge(calls, mails)
            for one in judged:
                if not one.missing and one.title not in told:
                    told.add(one.title)
                    accuracy = f", word error rate {one.wer:.0%}" if one.wer is not None else ""
                    self._say(f"[green]✓[/] {one.title}{accuracy}")
            return not any(one.missing for one in judged)

        try:
            await self._until(everything_stands, _ARRIVE_SECONDS, "every entry")
        except Unavailable:
            for one in judged:
                if one.missing:
                    self._say(f"[red]✗[/] {one.title}: {one.missing}")
            console.print(self._last_words())
        return judged

    async def _place(self, call: StagedCall) -> None:
        await play_call(self._addresses["siprec"], call.played)
        self._say(f"Call over: {call.title}")

    async def _send(self, mail: StagedMail) -> None:
        if mail.folder is not None and self._dovecot is not None:
            folder = self._dovecot.sent if mail.folder == "Sent" else mail.folder
            await asyncio.to_thread(self._dovecot.append, folder, [mail.raw])
        else:
            await asyncio.to_thread(_send_by_smtp, self._addresses["smtp"], mail)
        self._say(f"Mail sent: {mail.title}")

    async def _judge(self, calls: list[StagedCall], mails: list[StagedMail]) -> list[Outcome]:
        assert self._store is not None
        histories = await read_histories(self._store)
        outcomes = [judge_call(one, histories) for one in calls] + [judge_mail(one, histories) for one in mails]
        threads = judge_thread(histories, scene.PETROV)
        return [*outcomes, Outcome(title="question and reply are one thread", entry=None, missing=threads)]

    # --- The end ----------------------------------------------------------------------------------------------------

    async def show(self, outcomes: list[Outcome]) -> None:
        """The histories as a table, and how it went."""
        assert self._store is not None
        console.print(history_table(await read_histories(self._store), "%d.%m. %H:%M:%S"))
        good = sum(not one.missing for one in outcomes)
        took = time.monotonic() - self._began
        console.print(f"{good} of {len(outcomes)} as expected, after {took:.0f} s.")
        console.print(
            "The speech model of the demo is a tiny one of our own that knows synthetic voices and the words of the "
            "demo and the tests only; `transcribe.model` names a real one."
        )

    async def tell_crm(self) -> list[Outcome]:
        """Wait until the CRM holds what stands on cards, and show what it has; the demo's mails are older than the
        CRM is attached, so they are asked for as `cardline crm deliver` does."""
        tryton, store = self._tryton, self._store
        if tryton is None or store is None:
            return []
        async with store.begin() as connection:
            await outbox.want(connection, await interactions.list_ids(connection), whatever_age=True)
        left: dict[str, int] = {}

        async def all_told() -> bool:
            async with store.begin() as connection:
                (one,) = await connectors.list_connectors(connection)
                left.clear()
                left.update(await undelivered.count_states(connection, one.id))
            return set(left) <= {deliveries.DONE}

        missing = ""
        try:
            await self._until(all_told, _ARRIVE_SECONDS, "the CRM")
        except Unavailable:
            missing = f"the CRM was not told all: {left}"
        notes = await asyncio.to_thread(tryton.notes)
        for name, lines in notes.items():
            console.print(f"[bold]Tryton, {name}[/]")
            for line in lines:
                console.print(f"  {line}")
        console.print(f"Tryton is at {tryton.url}, user {tryton.user}, password {tryton.password}")
        count = sum(len(lines) for lines in notes.values())
        if not missing and count != left.get(deliveries.DONE, 0):
            missing = f"{count} notes for {left} deliveries"
        return [Outcome(title="Tryton holds each entry once", entry=None, missing=missing)]

    async def serve_until_stopped(self) -> None:
        """Leave the service running for a look at the pages."""
        host, port = self._addresses["web"]
        console.print(f"\nLook at it: [bold]http://{host}:{port}/[/]")
        console.print(f"Login: [bold]{scene.ADMINISTRATOR}[/]   password: [bold]{self._password}[/]")
        console.print("Ctrl-C ends the demo and removes its data.")
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await stopped.wait()

    def _say(self, text: str) -> None:
        console.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/]  {text}")

    async def _until(self, condition: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not await condition():
            if time.monotonic() > deadline:
                raise Unavailable(f"Waited {seconds} s for {what} in vain.", remedy=f"See {self._folder}/service.log.")
            await asyncio.sleep(0.3)


def _send_by_smtp(server: tuple[str, int], mail: StagedMail) -> None:
    with smtplib.SMTP(*server, timeout=30) as client:
        client.sendmail(mail.sender, [_JOURNAL], mail.raw, mail_options=["BODY=8BITMIME"])
