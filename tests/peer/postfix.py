"""A private Postfix on loopback with a Maildir of its own. It needs root, as Postfix does."""

from __future__ import annotations

import os
import pwd
import shutil
import smtplib
import socket
import subprocess
import time
from pathlib import Path

_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/log/postfix.log
maillog_file_prefixes = {folder}/log
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.com
mydestination =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
virtual_mailbox_domains = example.com
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_destination_concurrency_limit = 20
initial_destination_concurrency = 20
smtp_host_lookup = native
message_size_limit = 0
virtual_mailbox_limit = 0
in_flow_delay = 0
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
"""
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
tlsmgr unix - - n 1000? 1 tlsmgr
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """``folder`` must lie where any user may pass. ``more`` are further lines of main.cf."""

    def __init__(self, folder: Path, *, more: str = "") -> None:
        self._folder = folder
        self._more = more
        self.port = _free_port()
        self.mail = folder / "mail" / "box"

    def start(self) -> None:
        """Run it and wait until it greets."""
        owner = pwd.getpwnam("postfix")
        for name in ("spool", "data", "mail", "log", "conf"):
            (self._folder / name).mkdir(parents=True)
        for name in ("data", "mail"):
            shutil.chown(self._folder / name, owner.pw_uid, owner.pw_gid)
        self._folder.chmod(0o711)
        values = {"folder": self._folder, "uid": owner.pw_uid, "gid": owner.pw_gid, "port": self.port}
        (self._folder / "conf" / "main.cf").write_text(_MAIN.format(**values) + self._more)
        (self._folder / "conf" / "master.cf").write_text(_MASTER.format(**values))
        self._run("start")
        for _ in range(100):
            try:
                with smtplib.SMTP("127.0.0.1", self.port, timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"Postfix does not greet: {self.log()}")

    def stop(self) -> None:
        """End it at once; "stop" would wait in steps of seconds."""
        self._run("abort")

    def log(self) -> str:
        """What it wrote."""
        path = self._folder / "log" / "postfix.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def delivered(self) -> int:
        """How many messages lie in the Maildir."""
        new = self.mail / "new"
        return len(os.listdir(new)) if new.exists() else 0  # noqa: PTH208 - it is counted often while it fills

    def flush(self) -> None:
        """Try what waits again now: its queue manager can pass over a mail whose delivery has only just failed."""
        self._run("flush")

    def _run(self, command: str) -> None:
        conf = str(self._folder / "conf")
        subprocess.run(["postfix", "-c", conf, command], check=True, capture_output=True, timeout=60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
