"""``BENCH=attachment-words``: the words of attached files, as the job reads them out of mails, in its child process.

Offers, price lists, slides and contracts of some pages each, one file a mail. Peer, over the same files already on the
disk: what a script would do, `pdftotext` for PDF and `unzip -p` with its tags taken out by `sed` for the others, one
process a file. That has neither mail nor limits nor order of lines, and is there to compare with.
ATTACHMENT_WORDS_FILES makes it smaller.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.mail.attachments.reading import AttachmentReader
from tests.bench.result import Result
from tests.unit.mail_lab import attached, docx, mixed, odt, pdf, pptx, xlsx

FILES = int(os.environ.get("ATTACHMENT_WORDS_FILES", "500"))
_GOAL = 0.5
_PART = 1  # in walking order, the mail itself being 0
_WORDS = "договор поставка болтов цена срок оплата склад заказ скидка доставка счёт гарантия".split()  # noqa: SIM905
_MEMBERS = {
    "docx": "word/document.xml",
    "xlsx": "xl/sharedStrings.xml",
    "pptx": "ppt/slides/slide*.xml",
    "odt": "content.xml",
}


def run() -> Result:
    """Make the files, read them both ways, compare."""
    chance = random.Random(5)
    files = [_file(chance, number) for number in range(FILES)]
    with tempfile.TemporaryDirectory(prefix="cardline-bench-") as folder:
        paths = []
        for number, (kind, content, _) in enumerate(files):
            paths.append(Path(folder) / f"{number}.{kind}")
            paths[-1].write_bytes(content)
        peer = _peer(paths)
        ours = asyncio.run(_ours(files))
    return Result(
        bench="attachment-words",
        work=f"{FILES} files, {sum(len(one[1]) for one in files) / 1e6:.1f} MB",
        unit="files/s",
        ours=round(FILES / ours),
        peer=round(FILES / peer),
        ratio=round(peer / ours, 2),
        goal="every line read; at least half the rate of pdftotext, unzip and sed",
        holds=peer / ours >= _GOAL,
        details={"seconds": round(ours, 2), "peer_seconds": round(peer, 2)},
    )


def _file(chance: random.Random, number: int) -> tuple[str, bytes, int]:
    """Kind, bytes, and how many lines are in it."""
    makers: dict[str, tuple[Callable[..., bytes], int]] = {
        "pdf": (pdf, 50),
        "docx": (docx, 300),
        "xlsx": (xlsx, 1500),
        "pptx": (pptx, 25),
        "odt": (odt, 300),
    }
    kind = list(makers)[number % len(makers)]
    make, lines = makers[kind]
    if kind == "pdf":
        return kind, make(*(f"Contract {number} line {line} for bolts" for line in range(lines))), lines
    return kind, make(*(" ".join(chance.choices(_WORDS, k=8)) for _ in range(lines))), lines


async def _ours(files: Sequence[tuple[str, bytes, int]]) -> float:
    mails = [mixed(attached(content, "application/octet-stream", f"a.{kind}")) for kind, content, _ in files]
    reader = AttachmentReader()
    try:
        await reader.read(mails[0], [_PART])  # the child is there
        began = time.perf_counter()
        for raw, (kind, _, lines) in zip(mails, files, strict=True):
            (found,) = await reader.read(raw, [_PART])
            assert found.text is not None, (kind, found.problem)
            assert len(found.text.splitlines()) == lines, (kind, len(found.text.splitlines()), lines)
        return time.perf_counter() - began
    finally:
        await reader.stop()


def _peer(paths: Sequence[Path]) -> float:
    began = time.perf_counter()
    for path in paths:
        if path.suffix == ".pdf":
            subprocess.run(["pdftotext", str(path), "-"], stdout=subprocess.DEVNULL, check=True)
            continue
        member = _MEMBERS[path.suffix[1:]]
        with subprocess.Popen(["unzip", "-p", str(path), member], stdout=subprocess.PIPE) as unzip:
            subprocess.run(["sed", "s/<[^>]*>/ /g"], stdin=unzip.stdout, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began
