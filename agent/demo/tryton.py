"""A Tryton of its own for the demo, on SQLite and loopback; what is told to it is read from its own tables in the end.

It is an installed `trytond` that runs: tests/install-peers puts one into .cache/tryton, from PyPI.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from agent.errors import Misconfigured, Unavailable

_DATABASE = "crm"
_START_SECONDS = 60
_CACHE = Path(".cache/tryton/bin")


@dataclass(slots=True)
class DemoTryton:
    """A running one. ``user`` and ``password`` are its administrator's."""

    folder: Path
    port: int
    password: str
    process: asyncio.subprocess.Process
    user: str = "admin"

    @property
    def url(self) -> str:
        """For ``[[crm]]``."""
        return f"http://127.0.0.1:{self.port}/{_DATABASE}"

    def configuration(self) -> list[str]:
        """The table of cardline.toml; clients that Tryton does not know are made there."""
        return [
            "[[crm]]",
            f'name = "tryton"\nkind = "tryton"\nurl = "{self.url}"\nuser = "{self.user}"\npassword = "{self.password}"',
            'create_cards = true\nlanguage = "ru"\nread_minutes = 1',
        ]

    def notes(self) -> dict[str, list[str]]:
        """First lines of the notes by party, as Tryton's tables have them."""
        query = (
            "SELECT p.name, n.message FROM ir_note n JOIN party_party p ON n.resource = 'party.party,' || p.id"
            " ORDER BY n.id"
        )
        found: dict[str, list[str]] = {}
        with contextlib.closing(sqlite3.connect(self.folder / f"{_DATABASE}.sqlite")) as database:
            for name, message in database.execute(query):
                found.setdefault(name, []).append(message.partition("\n")[0])
        return found

    async def stop(self) -> None:
        """End it."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


async def start_tryton(folder: Path) -> DemoTryton:
    """A new database with parties and opportunities, and a server on it; half a minute.

    Raises:
        Misconfigured: there is no Tryton on this machine.
        Unavailable: it does not start.
    """
    path = os.pathsep.join((str(_CACHE), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    trytond, admin = shutil.which("trytond", path=path), shutil.which("trytond-admin", path=path)
    if trytond is None or admin is None:
        raise Misconfigured("Tryton is not installed here.", remedy="Run `make demo CRM=tryton`, which installs it.")
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config, password = folder / "trytond.conf", secrets.token_urlsafe(12)
    config.write_text(f"[database]\nuri = sqlite://\npath = {folder}\n[web]\nlisten = 127.0.0.1:{port}\n")
    (folder / f"{_DATABASE}.sqlite").touch()
    secret = folder / "password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    await _make_database(admin, config, secret)
    with (folder / "trytond.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            trytond, "-c", str(config), "-d", _DATABASE, stdout=log, stderr=log
        )
    found = DemoTryton(folder=folder, port=port, password=password, process=process)
    try:
        await _until_it_answers(found)
    except BaseException:
        await found.stop()
        raise
    return found


async def _make_database(admin: str, config: Path, secret: Path) -> None:
    made = await asyncio.create_subprocess_exec(
        admin,
        *("-c", str(config), "-d", _DATABASE, "-l", "en", "--email", "admin@example.com"),
        *("-u", "party", "sale_opportunity", "--activate-dependencies"),
        env={**os.environ, "TRYTONPASSFILE": str(secret)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await made.communicate()
    if made.returncode:
        raise Unavailable("Tryton's database could not be made.", remedy=said.decode(errors="replace")[-500:])


async def _until_it_answers(tryton: DemoTryton) -> None:
    body = {"id": 1, "method": "common.db.login", "params": [tryton.user, {"password": tryton.password}]}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        for _ in range(_START_SECONDS * 5):
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.post(f"{tryton.url}/rpc/", json=body) as answer:
                    if answer.status == 200 and (await answer.json(content_type=None)).get("result"):
                        return
            await asyncio.sleep(0.2)
    raise Unavailable("Tryton does not start.", remedy=f"See {tryton.folder}/trytond.log.")
