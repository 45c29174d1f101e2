"""A live Tryton on SQLite, as `trytond` of its own environment; it can be stopped in the middle and started again.

The database with its modules takes half a minute to make, so it is made once for each lock file and seed, and copied.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from agent.settings_crm import CrmSettings
from linker.crm.protocol import CrmUnreachable
from linker.crm.tryton.rpc import Rpc
from tests import peers

_HERE = Path(__file__).parent
_SEED = _HERE / "tryton_seed.py"
_DATABASE = "crm"
PASSWORD = "{login}-Pa55word-example"


def template(trytond: str) -> tuple[Path, dict[str, int]]:
    """The seeded database and the ids in it."""
    bin_folder = Path(trytond).parent
    digest = hashlib.sha256((_HERE / "tryton.lock").read_bytes() + _SEED.read_bytes()).hexdigest()[:16]
    folder = bin_folder.parent / f"template-{digest}"
    if not (folder / "ids.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        config = _write_config(folder, 0)
        (folder / f"{_DATABASE}.sqlite").touch()
        (folder / "password").write_text(PASSWORD.format(login="admin"))
        admin = [
            bin_folder / "trytond-admin",
            "-c",
            config,
            "-d",
            _DATABASE,
            "-l",
            "en",
            "--email",
            "admin@example.com",
        ]
        command = [*map(str, admin), "-u", "party", "sale_opportunity", "--activate-dependencies"]
        environment = {**os.environ, "TRYTONPASSFILE": str(folder / "password")}
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
        seed = [str(bin_folder / "python"), str(_SEED), str(config), _DATABASE]
        done = subprocess.run(seed, check=True, capture_output=True, timeout=120)
        with contextlib.closing(sqlite3.connect(folder / f"{_DATABASE}.sqlite")) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # all of it in the one file that is copied
        (folder / "ids.json").write_bytes(done.stdout.strip().splitlines()[-1])
    return folder / f"{_DATABASE}.sqlite", json.loads((folder / "ids.json").read_text())


def _write_config(folder: Path, port: int) -> Path:
    config = folder / "trytond.conf"
    config.write_text(
        f"[database]\nuri = sqlite://\npath = {folder}\n[web]\nlisten = 127.0.0.1:{port}\n[session]\nsuper_pwd =\n"
    )
    return config


class TrytonServer:
    """One database of its own. ``ids`` are those of `tryton_seed.py`."""

    def __init__(self, folder: Path) -> None:
        self._trytond = peers.require("tryton")
        folder.mkdir(exist_ok=True)
        database, self.ids = template(self._trytond)
        shutil.copy(database, folder / database.name)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._config = _write_config(folder, self.port)
        self._log = folder / "trytond.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """For ``[[crm]] url``."""
        return f"http://127.0.0.1:{self.port}/{_DATABASE}"

    def settings(self, login: str = "cardline", **more: Any) -> CrmSettings:
        """As somebody of the seed."""
        values = {"name": "office", "kind": "tryton", "url": self.url, "user": login, "language": "en", **more}
        return CrmSettings.model_validate({**values, "password": PASSWORD.format(login=login)})

    def rpc(self, login: str = "admin") -> Rpc:
        """To do what a person does there."""
        return Rpc(self.settings(login))

    async def start(self) -> None:
        """Run it until it answers."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                self._trytond, "-c", str(self._config), "-d", _DATABASE, stdout=log, stderr=log
            )
        rpc = self.rpc()
        try:
            for _ in range(600):
                assert self._process.returncode is None, self._log.read_text()
                with contextlib.suppress(CrmUnreachable):
                    await rpc.call("res.user", "search", [], 0, 1, None)
                    return
                await asyncio.sleep(0.1)
        finally:
            await rpc.close()
        raise AssertionError(f"Tryton does not answer: {self._log.read_text()[-2000:]}")

    async def stop(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def notes(self, party: int) -> list[str]:
        """Texts of the notes on a party, in order."""
        return [str(row["message"]) for row in await self._on("ir.note", party, ["message"])]

    async def files(self, party: int) -> list[dict[str, Any]]:
        """Attachments of a party."""
        return await self._on("ir.attachment", party, ["name", "type", "link", "data", "description"])

    async def _on(self, model: str, party: int, fields: list[str]) -> list[dict[str, Any]]:
        rpc = self.rpc()
        try:
            domain = [["resource", "=", f"party.party,{party}"]]
            found: list[dict[str, Any]] = await rpc.call(model, "search_read", domain, 0, None, [["id", "ASC"]], fields)
            return found
        finally:
            await rpc.close()
