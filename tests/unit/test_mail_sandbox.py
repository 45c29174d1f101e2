"""The process that reads mail: bombs cost the child, never the parent, and what could be read comes out."""

from __future__ import annotations

import asyncio
import base64
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.errors import Unreadable
from agent.mail.parse import parse
from agent.mail.sandbox import Sandbox

_HEAD = b"From: anna@example.com\r\nSubject: bomb\r\n"
_MIXED = _HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"

BOMBS = {
    "nested 2000 deep": _HEAD
    + b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(2000))
    + b"\r\nwords",
    "mails in mails, 2000 deep": _HEAD + b"Content-Type: message/rfc822\r\n\r\n" * 2000 + b"words",
    "2 MB of empty parts": _MIXED + b"--b\r\n\r\n" * 300_000,
    "20,000 addresses": _HEAD
    + b"To: "
    + b", ".join(b"U %d <u%d@example.com>" % (n, n) for n in range(20000))
    + b"\r\n\r\n",
    "brackets for addresses": _HEAD + b"To: " + b"(" * 200_000 + b"\r\nCc: " + b"<" * 200_000 + b"\r\n\r\nwords",
    "a million header lines": _HEAD + b"".join(b"X%d: 1\r\n" % n for n in range(100_000)) + b"\r\nwords",
    "encoded words without end": _HEAD + b"X: 1\r\nSubject: " + b"=?utf-8?q?a" * 100_000 + b"\r\n\r\nwords",
    "HTML nested 150,000 deep": _HEAD + b"Content-Type: text/html\r\n\r\n" + b"<ul><li>" * 75_000 + b"words",
    "HTML that is never closed": _HEAD + b"Content-Type: text/html\r\n\r\n" + b"<span></p>" * 90_000 + b"words",
    "quotes of every depth": _HEAD + b"\r\nwords\r\n" + b"".join(b">" * (n % 400) + b" a\r\n" for n in range(50_000)),
    "winmail.dat of empty objects": _MIXED
    + b"--b\r\n\r\nwords\r\n--b\r\nContent-Type: application/ms-tnef\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(b"\x78\x9f\x3e\x22\0\0" + b"\1" + b"\0" * 3_000_000),
    "S/MIME nested without end": _HEAD
    + b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(b"\x30\x80" * 500_000),
    "a calendar of a thousand zones": _MIXED
    + b"--b\r\n\r\nwords\r\n--b\r\nContent-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\n"
    + b"BEGIN:VTIMEZONE\r\nTZID:x\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nRRULE:FREQ=SECONDLY\r\n"
    b"TZOFFSETFROM:+0000\r\nTZOFFSETTO:+0100\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n"
    * 1000
    + b"BEGIN:VEVENT\r\nDTSTART;TZID=x:20260302T100000\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
    "uuencode without end": _HEAD + b"\r\nwords\r\n" + b"begin 644 a\r\n#0V%T\r\n" * 50_000,
    "an id of a megabyte": _HEAD + b"Message-ID: <" + b"a" * 1_000_000 + b">\r\n\r\nwords",
}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(seconds=20)
    yield sandbox
    await sandbox.stop()


@pytest.mark.parametrize("raw", BOMBS.values(), ids=BOMBS.keys())
async def test_bombs_end_with_what_could_be_read(sandbox: Sandbox, raw: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = await sandbox.parse(raw, {})
    assert (message.subject, message.parties[0].value) == ("bomb", "anna@example.com")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024  # KiB


async def test_a_large_attachment(sandbox: Sandbox) -> None:
    content = os.urandom(25 * 1024 * 1024)
    encoded = base64.encodebytes(content).replace(b"\n", b"\r\n")
    part = b"--b\r\nContent-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    raw = _MIXED + b"--b\r\n\r\nwords\r\n" + part + encoded + b"--b--\r\n"
    message = await sandbox.parse(raw, {})
    assert message.text == "words"
    assert [one.size for one in message.attachments] == [len(content)]
    assert await sandbox.extract_part(raw, 2) == (content, "a.zip", "application/zip")


async def test_a_mail_that_takes_too_long_is_read_with_less_effort() -> None:
    sandbox = Sandbox(seconds=1)
    attributes = b" ".join(b"x%x" % n for n in range(140_000))  # looked for in each other: seconds
    raw = _HEAD + b"Content-Type: text/html\r\n\r\n<p " + attributes + b">words"
    message = await sandbox.parse(raw, {})
    await sandbox.stop()
    assert (message.subject, message.text.strip(), message.html) == ("bomb", "words", "")
    assert any("took too much" in problem for problem in message.problems)


async def test_after_a_bomb_the_next_mail_is_read(sandbox: Sandbox) -> None:
    for raw in (BOMBS["nested 2000 deep"], b"", b"Subject: x\r\n\r\nnext"):
        try:
            message = await sandbox.parse(raw, {})
        except Unreadable as error:
            assert error.what == "The mail is empty."
    assert message.text == "next"


async def test_a_child_that_always_dies_is_said_to_be_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly.py").write_text(
        "import sys, os\nsys.stdout.buffer.write((5).to_bytes(8, 'big') + b'ready')\nsys.stdout.flush()\n"
        "sys.stdin.buffer.read(20)\nos.kill(os.getpid(), 9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    sandbox = Sandbox(seconds=10, module="deadly")
    with pytest.raises(Unreadable, match="ended the process"):
        await sandbox.parse(b"Subject: x\r\n\r\n", {})
    await sandbox.stop()


@pytest.mark.parametrize("message", [b"{}", b"[]", b"no json", b'{"text": 1}', b"null", b"", b"\xff"])
@pytest.mark.parametrize("answer", [b"{}", b"[]", b"no json", b'{"message": {"text": 1}}', b'{"message": null}'])
async def test_nonsense_from_the_child_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, message: bytes
) -> None:
    (tmp_path / "liar.py").write_text(
        "import sys\nout = sys.stdout.buffer\n"
        "def frame(b): out.write(len(b).to_bytes(8, 'big') + b); out.flush()\n"
        "frame(b'ready')\n"
        "def skip(): sys.stdin.buffer.read(int.from_bytes(sys.stdin.buffer.read(8) or sys.exit(), 'big'))\n"
        "while True:\n    skip(); skip()\n"
        f"    frame({answer!r}); frame({message!r})\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    sandbox = Sandbox(seconds=10, module="liar")
    with pytest.raises(Unreadable):
        await sandbox.parse(b"Subject: x\r\n\r\n", {})
    await sandbox.stop()


async def test_a_cancelled_reading_does_not_answer_the_next(sandbox: Sandbox) -> None:
    await sandbox.parse(b"Subject: warm\r\n\r\n", {})
    slow = _HEAD + b"Content-Type: text/html\r\n\r\n<p " + b" ".join(b"x%x" % n for n in range(140_000)) + b">"
    task = asyncio.create_task(sandbox.parse(slow, {}))
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await sandbox.parse(b"Subject: next\r\n\r\n", {})).subject == "next"


async def test_many_at_once_get_their_own_answers(sandbox: Sandbox) -> None:
    raws = [b"From: a@example.com\r\nSubject: %d\r\n\r\n%d" % (n, n) for n in range(30)]
    found = await asyncio.gather(*(sandbox.parse(raw, {}) for raw in raws))
    assert found == [parse(raw, {}) for raw in raws]


_PICKY = """
import os, sys, time
from agent.mail.parse_child import answer, serve

def picky(request, raw):
    if b'DEADLY' in raw and request['effort'] != 'header':
        os.kill(os.getpid(), 9)
    if b'ENDLESS' in raw:
        time.sleep(600)
    return answer(request, raw)

serve(lambda: None, picky)
"""


async def test_a_mail_that_ends_the_child_costs_no_other_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "picky.py").write_text(_PICKY)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', Path(__file__).parents[2])}")
    sandbox = Sandbox(seconds=6, module="picky")
    words = ["a", "DEADLY", "b" * 300_000, "ENDLESS", "", "c"]
    raws = [f"Subject: {at}\r\n\r\n{one}".encode() if one else b" " for at, one in enumerate(words)]
    found = await sandbox.parse_all([(raw, {"uid": at}) for at, raw in enumerate(raws)])
    await sandbox.stop()
    assert [at for at, one in enumerate(found) if isinstance(one, Unreadable)] == [3, 4]
    read = {at: one for at, one in enumerate(found) if not isinstance(one, Unreadable)}
    assert [one.subject for one in read.values()] == ["0", "1", "2", "5"]
    assert [at for at, one in read.items() if one != parse(raws[at], {})] == [1]
    assert read[1].problems[0] == "reading all of it took too much, so only its header was read"


async def test_a_child_that_is_replaced_between_two_mails_answers_both(tmp_path: Path) -> None:
    sandbox = Sandbox(seconds=20)
    sandbox._child._questions = 2
    raws = [b"Subject: %d\r\n\r\n" % n for n in range(5)]
    found = [await sandbox.parse_all([(raw, {}) for raw in raws[at : at + 2]]) for at in (0, 2, 4)]
    await sandbox.stop()
    assert [one for some in found for one in some] == [parse(raw, {}) for raw in raws]


LOCKED = """
import socket, sys
from agent.mail.parse_child import lock_down
lock_down()
for attempt in (lambda: socket.socket(), lambda: open('/etc/passwd'), lambda: open('/dev/null', 'w')):
    try:
        attempt()
    except OSError:
        continue
    sys.exit('it could')
try:
    bytearray(4 * 1024 ** 3)
except MemoryError:
    sys.exit(0)
sys.exit('too much memory')
"""


def test_the_child_can_open_neither_sockets_nor_files() -> None:
    done = subprocess.run([sys.executable, "-c", LOCKED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


async def test_the_child_gets_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "teller.py").write_text(
        "import json, os, sys\nout = sys.stdout.buffer\n"
        "def frame(b): out.write(len(b).to_bytes(8, 'big') + b); out.flush()\n"
        "frame(b'ready')\nsys.stdin.buffer.read(8)\n"
        "frame(json.dumps({'error': ' '.join(sorted(os.environ))}).encode()); frame(b'')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CARDLINE_DATABASE__URL", "postgresql://secret")
    sandbox = Sandbox(seconds=10, module="teller")
    with pytest.raises(Unreadable) as told:
        await sandbox.parse(b"x", {})
    await sandbox.stop()
    assert "PYTHONPATH" in told.value.what
    assert "CARDLINE" not in told.value.what
