"""The process that reads hostile mail: ``python -m agent.mail.parse_child``, started by `agent.mail.sandbox`.

It gets frames on stdin and answers on stdout; a frame is eight bytes of length (big-endian) and that many bytes. A
request is two frames, JSON and the mail; an answer is two frames, JSON and the `ParsedMessage` as JSON or the bytes of
an extracted part. Never pickle: the answer of a process that was taken over must be as harmless as the mail itself.

Before the first mail it gives up what it does not need: no file descriptor can be opened any more, so neither files
nor sockets; memory, time and core dumps are limited.
"""

from __future__ import annotations

import codecs
import encodings
import importlib
import json
import mimetypes
import pkgutil
import resource
import sys
import zoneinfo
from collections.abc import Callable
from typing import Any, BinaryIO

from agent.errors import Unreadable
from agent.mail.deliveries import read_delivery
from agent.mail.parse import extract_part, parse
from agent.mail.protocol import LENGTH_BYTES, MESSAGE, Effort

MEMORY_BYTES = 2 * 1024**3
CPU_SECONDS = 60
_LONGEST_FRAME = 1024**3

_WARM_UP = (
    "From: =?koi8-r?B?0NLJ?= <a@example.com>\r\nDate: Mon, 2 Mar 2026 10:00:00 +0300\r\nContent-Type: multipart/mixed;"
    ' boundary="b"\r\n\r\n--b\r\n\r\nПривет\r\n--b\r\nContent-Type: text/html\r\n\r\n<table><tr><td>x</table>'
    "<a href='https://example.com'>y</a>\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n1\r\n"
    "--b\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\nBEGIN:VTIMEZONE\r\nTZID:Own\r\n"
    "BEGIN:STANDARD\r\nDTSTART:19701025T030000\r\nRRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10\r\nTZOFFSETFROM:+0200\r\n"
    "TZOFFSETTO:+0100\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT\r\nDTSTART;TZID=Own:20260302T100000\r\n"
    "DTEND;TZID=Russian Standard Time:20260302T110000\r\nATTENDEE;CN=A:mailto:a@example.com\r\nEND:VEVENT\r\n"
    "END:VCALENDAR\r\n--b--\r\n"
)
_ZONES: list[zoneinfo.ZoneInfo] = []
"""Every time zone, kept: none can be loaded from a file any more when a calendar names it."""


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next frame, None at the end of the stream."""
    head = stream.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    length = int.from_bytes(head, "big")
    body = stream.read(length) if length <= _LONGEST_FRAME else b""
    return body if len(body) == length else None


def write_frame(stream: BinaryIO, *bodies: bytes) -> None:
    """Write frames and send them off."""
    for body in bodies:
        stream.write(len(body).to_bytes(LENGTH_BYTES, "big"))
        stream.write(body)
    stream.flush()


def lock_down() -> None:
    """Load all that reading a mail may need, then give up files, sockets and boundless memory for good."""
    load_codecs()
    mimetypes.init()
    _load_zones()
    for charset in ("cp1251", "koi8-r", "utf-8", "gb18030"):
        parse(_WARM_UP.encode(charset, "replace") + bytes(range(128, 256)) * 2, {})
    give_up()


def _load_zones() -> None:
    """Every time zone; a name that is none is then unknown and not a file that cannot be opened."""
    _ZONES.extend(zoneinfo.ZoneInfo(name) for name in zoneinfo.available_timezones())
    zoneinfo.reset_tzpath(to=())
    modules: dict[str, Any] = sys.modules
    for name in ["tzdata", *modules]:
        if name.partition(".")[0] == "tzdata":
            modules[name] = None  # an import of it fails from now on


def load_codecs() -> None:
    """Every charset Python knows."""
    for module in pkgutil.iter_modules(encodings.__path__):
        if module.name not in ("mbcs", "oem"):
            importlib.import_module(f"encodings.{module.name}")
            _look_up(module.name)


def give_up(memory: int = MEMORY_BYTES) -> None:
    """From now on: no file, no socket, no core dump, and only so much memory (bytes)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def _look_up(name: str) -> None:
    try:
        codecs.lookup(name)
    except LookupError:  # `aliases` and the like are modules of the package but no codecs
        return


def _allow_cpu_seconds(seconds: int) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + seconds + 1, hard))


def answer(request: dict[str, Any], raw: bytes) -> tuple[bytes, bytes]:
    """Do what is asked; the two frames of the answer. What went wrong is told by ``error`` or ``failed``.

    ``error``: the mail cannot be read, in words. ``failed``: we could not, another effort may.
    """
    try:
        if "part" in request:
            content, name, media_type = extract_part(raw, request["part"])
            return json.dumps({"name": name, "media_type": media_type}).encode(), content
        message = read_delivery(raw, request["envelope"], effort=Effort(request["effort"]))
        return b"{}", MESSAGE.dump_json(message)
    except Unreadable as error:
        return json.dumps({"error": error.what}).encode(), b""
    except MemoryError:
        return b'{"failed":"it needs too much memory"}', b""
    except Exception as error:  # whatever a hostile mail brings about is told to the parent, which tries less
        return json.dumps({"failed": f"{type(error).__name__}"}).encode(), b""


def serve(prepare: Callable[[], None], do: Callable[[dict[str, Any], bytes], tuple[bytes, bytes]]) -> None:
    """``prepare``, then answer until stdin ends."""
    source, target = sys.stdin.buffer, sys.stdout.buffer
    prepare()
    write_frame(target, b"ready")
    while (head := read_frame(source)) is not None and (raw := read_frame(source)) is not None:
        _allow_cpu_seconds(CPU_SECONDS)
        write_frame(target, *do(json.loads(head), raw))


if __name__ == "__main__":
    serve(lock_down, answer)
