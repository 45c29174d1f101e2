"""Mail taken over SMTP, durably, beside Postfix delivering the same messages to a Maildir, from the same smtp-source.

A message counts for Postfix once it lies in the Maildir, for us once it is sealed, synced and committed with its job:
that is when the sender has its 250. Reading the mail comes later and is no part of this. Postfix needs root.
``MAIL_SMTP_MESSAGES`` and ``MAIL_SMTP_BYTES`` change the work, 5,000 messages of 10,000 bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.result import Result
from tests.peer.postfix import Postfix

MESSAGES = int(os.environ.get("MAIL_SMTP_MESSAGES", "5000"))
BYTES = int(os.environ.get("MAIL_SMTP_BYTES", "10000"))
SESSIONS, ROUNDS = 20, 3
LEAST_SHARE = 0.5


def run() -> Result:
    """Both in turns, several times; the middle of each counts."""
    if shutil.which("smtp-source") is None or os.geteuid() != 0:
        raise SystemExit("This benchmark needs root and Postfix with its smtp-source: apt-get install postfix")
    with tempfile.TemporaryDirectory(prefix="cardline-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        postfix = Postfix(folder / "postfix")
        postfix.start()
        (folder / "ours").mkdir()
        work = [sys.executable, "-m", "tests.bench._mail_smtp_work", str(folder / "ours")]
        with subprocess.Popen(work, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as ours:
            assert ours.stdout is not None
            port = int(ours.stdout.readline())
            try:
                rates = [(_postfix(postfix), _ours(port)) for _ in range(ROUNDS)]
            finally:
                postfix.stop()
            found = json.loads(ours.communicate("")[0].strip().splitlines()[-1])
    if found["stored"] != MESSAGES * ROUNDS:
        raise SystemExit(f"{found['stored']} of {MESSAGES * ROUNDS} messages are stored")
    peer, own = (sorted(column)[ROUNDS // 2] for column in zip(*rates, strict=True))
    return Result(
        bench="mail-smtp",
        work=f"{MESSAGES} messages of {BYTES} bytes by {SESSIONS} sessions; ours sealed, synced, committed",
        unit="messages/s",
        ours=round(own, 1),
        peer=round(peer, 1),
        ratio=round(own / peer, 2),
        goal=f"at least {LEAST_SHARE:g} of Postfix's rate into a Maildir",
        holds=own / peer >= LEAST_SHARE,
        details=found | {"rounds": [[round(one) for one in pair] for pair in rates]},
    )


def _postfix(server: Postfix) -> float:
    before = server.delivered()
    began = time.monotonic()
    _send(server.port)
    while server.delivered() < before + MESSAGES:
        if time.monotonic() - began > 600:
            raise SystemExit(f"Postfix delivered {server.delivered() - before} of {MESSAGES}: {server.log()[-2000:]}")
        time.sleep(0.02)
    return _said("Postfix", MESSAGES / (time.monotonic() - began))


def _ours(port: int) -> float:
    began = time.monotonic()
    _send(port)
    return _said("ours", MESSAGES / (time.monotonic() - began))


def _said(name: str, rate: float) -> float:
    print(f"{name:8} {rate:7.0f} messages/s", flush=True)
    return rate


def _send(port: int) -> None:
    """It ends when every message has its 250, and fails at any other answer."""
    options = ["-s", str(SESSIONS), "-m", str(MESSAGES), "-l", str(BYTES), "-f", "a@example.org"]
    subprocess.run(["smtp-source", *options, "-t", "box@example.com", f"inet:127.0.0.1:{port}"], check=True)
