"""The process that reads attached files: ``python -m agent.mail.attachments.child``, started by `.reading`.

It speaks as `agent.mail.parse_child` does and gives up the same rights before it reads the first file. A request names
the parts of a mail; the answer has, for each, its words or why there are none.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import mimetypes
import pkgutil
from collections.abc import Sequence
from typing import Any

import pypdf

from agent.errors import Unreadable
from agent.mail.attachments.words import words_of
from agent.mail.parse import INSIDE, all_parts, take_part, unwrapped
from agent.mail.parse_child import give_up, load_codecs, serve
from agent.mail.parts import Part

_MEMORY = 1536 * 1024**2


def prepare() -> None:
    """Load all that reading a file may need: nothing can be imported later."""
    load_codecs()
    mimetypes.init()
    for module in pkgutil.walk_packages(pypdf.__path__, "pypdf."):
        with contextlib.suppress(ImportError):  # a helper for a library that is not there
            importlib.import_module(module.name)
    blank = io.BytesIO()
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("", algorithm="AES-256")
    writer.write(blank)
    words_of(blank.getvalue(), name="", media_type="")
    words_of(bytes(range(128, 256)) * 2, name="a.txt", media_type="text/plain")
    give_up(_MEMORY)


def answer(request: dict[str, Any], raw: bytes) -> tuple[bytes, bytes]:
    """``texts``: for each part asked for, its number, its words (null: it has none) and what was wrong."""
    try:
        numbers = [int(number) for number in request["parts"]]
        parts = all_parts(unwrapped(raw) if any(number >= INSIDE for number in numbers) else raw)
        return json.dumps({"texts": [_one(parts, number) for number in numbers]}).encode(), b""
    except Unreadable as error:
        return json.dumps({"error": error.what}).encode(), b""
    except MemoryError:
        return b'{"failed":"it needs too much memory"}', b""
    except Exception as error:  # whatever a hostile file brings about is told to the parent
        return json.dumps({"failed": type(error).__name__}).encode(), b""


def _one(parts: Sequence[Part], part: int) -> dict[str, Any]:
    try:
        content, name, media_type = take_part(parts, part % INSIDE)
    except Unreadable:  # another copy of the mail has it
        return {"part": part, "sha256": "-", "text": None, "problem": "its mail has no such part"}
    digest = hashlib.sha256(content).hexdigest()
    try:
        text = words_of(content, name=name, media_type=media_type)
    except Unreadable as error:
        return {"part": part, "sha256": digest, "text": None, "problem": error.what}
    return {"part": part, "sha256": digest, "text": text, "problem": ""}


if __name__ == "__main__":
    serve(prepare, answer)
