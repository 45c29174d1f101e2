"""A private Dovecot on loopback with one user and a Maildir of its own: a real IMAP server wherever one is installed.

As root it runs under the users that the package made; otherwise everything runs under ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import grp
import imaplib
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from imapclient import imap_utf7

from agent.errors import Unavailable

USER, PASSWORD = "anna@example.com", "Kolibri-7"  # of this throw-away server on loopback

_CONFIG = """
protocols = imap
listen = 127.0.0.1
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
ssl = no
disable_plaintext_auth = no
auth_failure_delay = 0
mail_location = maildir:{mail}
mailbox_list_index = no
first_valid_uid = 1
default_login_user = {login_user}
default_internal_user = {internal_user}
default_internal_group = {internal_group}
mail_max_userip_connections = 50
maildir_very_dirty_syncs = no
service imap-login {{
  chroot = {chroot}
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service anvil {{
  chroot = {chroot_empty}
}}
service stats {{
  chroot = {chroot_empty}
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={mail}/home
}}
namespace inbox {{
  inbox = yes
  mailbox Отправленное {{
    special_use = \\Sent
    auto = create
  }}
}}
"""


class Dovecot:
    """Start it, fill it with `append`, point a mailbox at ``port``.

    ``folder`` must lie where any user may pass, so not below pytest's temporary folder, which is closed to others.
    """

    def __init__(self, folder: Path, program: str) -> None:
        self._folder = folder
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self.mail = folder / "mail"
        self.port = _free_port()
        self.sent = "Отправленное"

    async def start(self) -> None:
        """Run it and wait until it greets."""
        self._prepare()
        self._process = self._spawn()
        for _ in range(100):
            if self._process.poll() is not None:
                raise Unavailable("Dovecot ended instead of starting.", remedy=self.log())
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                if await asyncio.to_thread(connection.recv, 10):
                    return
            await asyncio.sleep(0.1)
        raise Unavailable("Dovecot does not greet.", remedy=self.log())

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([self._program, "-F", "-c", str(self._folder / "dovecot.conf")], start_new_session=True)

    def kill(self) -> None:
        """End the server and all its children at once, as a crash would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def log(self) -> str:
        """What the server wrote."""
        path = self._folder / "dovecot.log"
        return path.read_text() if path.exists() else ""

    def append(self, folder: str, messages: Sequence[bytes]) -> None:
        """Put messages into a folder, over IMAP, as a mail program does."""
        with self.client() as client:
            for message in messages:
                status, answer = client.append(quoted(folder), "", "", message)
                assert status == "OK", answer

    def client(self) -> imaplib.IMAP4:
        """A logged-in connection; used as a context it logs out."""
        client = imaplib.IMAP4("127.0.0.1", self.port)
        client.login(USER, PASSWORD)
        return client

    def _prepare(self) -> None:
        is_root = os.geteuid() == 0
        owner = pwd.getpwnam("nobody") if is_root else pwd.getpwuid(os.geteuid())
        for folder in ("run", "state", "mail/home"):
            (self._folder / folder).mkdir(parents=True, exist_ok=True)
        if is_root:
            for path in (self.mail, self.mail / "home"):
                shutil.chown(path, owner.pw_uid, owner.pw_gid)
            for passed in (self._folder, self._folder.parent):  # the mail's owner must get to the Maildir
                passed.chmod(0o711)
        me = getpass.getuser()
        my_group = grp.getgrgid(os.getegid()).gr_name
        text = _CONFIG.format(
            folder=self._folder,
            mail=self.mail,
            port=self.port,
            password=PASSWORD,
            uid=owner.pw_uid,
            gid=owner.pw_gid,
            login_user="dovenull" if is_root else me,
            internal_user="dovecot" if is_root else me,
            internal_group="dovecot" if is_root else my_group,
            chroot="login" if is_root else "",
            chroot_empty="empty" if is_root else "",
        )
        (self._folder / "dovecot.conf").write_text(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def quoted(folder: str) -> str:
    """A folder's name as IMAP wants it (modified UTF-7, RFC 3501 section 5.1.3)."""
    return f'"{imap_utf7.encode(folder).decode("ascii")}"'


async def start_dovecot(folder: Path) -> Dovecot | None:
    """A running Dovecot, or None where it is not installed."""
    program = shutil.which("dovecot", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if program is None:
        return None
    server = Dovecot(folder, program)
    await server.start()
    return server
