"""The first pass of a large mailbox, beside mbsync (isync) pulling the same from the same Dovecot in the same run.

mbsync writes files, each synced. Ours archives (sealed, chained later, synced), reads, threads, indexes and links every
mail in the same time, so its goal is half of mbsync's rate. The text of attachments is measured by itself.
``MAIL_BENCH_MESSAGES`` makes the mailbox smaller than 20,000 messages.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from agent.demo.dovecot import PASSWORD, USER, Dovecot, start_dovecot
from tests.bench._mail_messages import fill_maildir
from tests.bench.result import Result

MESSAGES = int(os.environ.get("MAIL_BENCH_MESSAGES", "20000"))
LEAST_SHARE, MOST_MB = 0.5, 300

_MBSYNC = """
IMAPAccount bench
Host 127.0.0.1
Port {port}
User {user}
Pass {password}
SSLType None
AuthMechs LOGIN

IMAPStore far
Account bench

MaildirStore near
Path {folder}/near/
Inbox {folder}/near/INBOX

Channel bench
Far :far:
Near :near:
Patterns INBOX
Create Near
Sync Pull
SyncState *
"""


def run() -> Result:
    """Fill a mailbox, let both pull it, ours last, so that what Dovecot learns by the first serves both."""
    program = shutil.which("mbsync")
    if program is None:
        raise SystemExit("The peer of this benchmark is missing: apt-get install isync")
    with tempfile.TemporaryDirectory(prefix="cardline-bench-") as name:
        folder = Path(name)
        total = fill_maildir(folder / "dovecot" / "mail", MESSAGES)
        print(f"{MESSAGES} messages, {total / 1e6:.0f} MB, {total / MESSAGES / 1000:.1f} KB on average", flush=True)
        _give_away(folder / "dovecot" / "mail")
        server = asyncio.run(_serve(folder / "dovecot"))
        try:
            _warm_up(server)
            peer = _mbsync(program, folder, server.port)
            print(f"mbsync {peer:8.2f} s, {MESSAGES / peer:6.0f} messages/s", flush=True)
            work = [sys.executable, "-m", "tests.bench._mail_first_pass_work", name, str(server.port), str(MESSAGES)]
            said = subprocess.run(work, check=True, stdout=subprocess.PIPE, text=True).stdout
        finally:
            server.kill()
    ours = json.loads(said.strip().splitlines()[-1])
    print(f"ours   {ours['seconds']:8.2f} s, {MESSAGES / ours['seconds']:6.0f} messages/s: {ours}", flush=True)
    share = peer / ours["seconds"]
    return Result(
        bench="mail-first-pass",
        work=f"{MESSAGES} messages of {total / MESSAGES / 1000:.0f} KB from Dovecot; ours into archive, text and index",
        unit="messages/s",
        ours=round(MESSAGES / ours["seconds"], 1),
        peer=round(MESSAGES / peer, 1),
        ratio=round(share, 2),
        goal=f"at least {LEAST_SHARE:g} of mbsync's rate, memory under {MOST_MB} MB",
        holds=share >= LEAST_SHARE and ours["memory_mb"] < MOST_MB,
        details=ours,
    )


async def _serve(folder: Path) -> Dovecot:
    server = await start_dovecot(folder)
    if server is None:
        raise SystemExit("The server of this benchmark is missing: apt-get install dovecot-imapd")
    return server


def _give_away(maildir: Path) -> None:
    """As root, Dovecot reads mail as another user."""
    if os.geteuid() == 0:
        for path in (maildir, *maildir.iterdir(), *maildir.glob("cur/*")):
            shutil.chown(path, "nobody", pwd.getpwnam("nobody").pw_gid)


def _warm_up(server: Dovecot) -> None:
    """Dovecot has indexed the folder and knows all sizes, as that of a mailbox in use does."""
    with server.client() as client:
        client.select("INBOX", readonly=True)
        client.fetch("1:*", "(RFC822.SIZE)")


def _mbsync(program: str, folder: Path, port: int) -> float:
    (folder / "near").mkdir()
    config = folder / "mbsyncrc"
    config.write_text(_MBSYNC.format(port=port, user=USER, password=PASSWORD, folder=folder))
    began = time.monotonic()
    subprocess.run([program, "-c", str(config), "-q", "bench"], check=True)
    seconds = time.monotonic() - began
    found = sum(1 for path in (folder / "near" / "INBOX").glob("*/*") if ",U=" in path.name)
    if found != MESSAGES:
        raise SystemExit(f"mbsync pulled {found} of {MESSAGES} messages")
    return seconds
