"""A private Dovecot on loopback with one mailbox, for the demo: a real IMAP server wherever one is installed."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import pwd
import secrets
import shutil
import signal
import socket
from pathlib import Path

from imapclient import IMAPClient

from agent.errors import Unavailable

_START_SECONDS = 20
_USER = "anna@example.com"

_CONFIGURATION = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
listen = 127.0.0.1
protocols = imap
ssl = no
disable_plaintext_auth = no
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {group}
mail_location = maildir:{folder}/mail/%n
first_valid_uid = 0
namespace inbox {{
  inbox = yes
  mailbox Sent {{
    auto = create
    special_use = \\Sent
  }}
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/mail/%n
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""


class Dovecot:
    """A running server; ``login`` is host, port, user and password."""

    def __init__(self, folder: Path, program: str) -> None:
        self._folder = folder
        self._program = program
        self._password = secrets.token_hex(8)
        self._port = _free_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def login(self) -> tuple[str, int, str, str]:
        """Where and as whom to log in."""
        return "127.0.0.1", self._port, _USER, self._password

    async def start(self) -> None:
        """Start it and wait until it takes logins.

        Raises:
            Unavailable: it does not come up.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        who = _operating_user()
        config = self._folder / "dovecot.conf"
        config.write_text(
            _CONFIGURATION.format(
                folder=self._folder, user=who[0], group=who[1], password=self._password, port=self._port
            )
        )
        if os.geteuid() == 0:
            shutil.chown(self._folder, who[0], who[1])
            self._folder.parent.chmod(0o711)
        self._process = await asyncio.create_subprocess_exec(
            self._program, "-F", "-c", str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        for _ in range(_START_SECONDS * 10):
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._append_all, [])
                return
            await asyncio.sleep(0.1)
        raise Unavailable("Dovecot does not start.", remedy=f"See {self._folder}/dovecot.log.")

    async def append(self, folder: str, raw: bytes) -> None:
        """Put a mail into a folder, as a mail program or a delivery agent does."""
        await asyncio.to_thread(self._append_all, [(folder, raw)])

    def _append_all(self, mails: list[tuple[str, bytes]]) -> None:
        host, port, user, password = self.login
        with IMAPClient(host, port=port, ssl=False, timeout=10) as client:
            client.login(user, password)
            for folder, raw in mails:
                client.append(folder, raw)

    async def stop(self) -> None:
        """End it."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            await self._process.wait()


async def start_dovecot(folder: Path) -> Dovecot | None:
    """A running Dovecot, or None where it is not installed."""
    program = shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin:/sbin")
    if program is None:
        return None
    server = Dovecot(folder, program)
    await server.start()
    return server


def _operating_user() -> tuple[str, str]:
    """Root hands the work to the package's own user; anybody else can only be himself."""
    if os.geteuid() == 0:
        return "dovecot", "dovecot"
    return pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
