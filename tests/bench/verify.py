"""``BENCH=verify``: the proof of a copy of 100,000 links beside `sha256sum` over the same files, in the same run.

The copy is what `cardline chain export` writes, with sealed-looking files of 2 to 30 KB in the layout of the archive
and a seal each 10,000 links. `sha256sum` gets the paths, as `xargs` hands them over, and only reads and hashes; ours
proves the links, the seals and the bytes. Both run twice in turns after one reading that fills the page cache; the
better run counts. VERIFY_BENCH_LINKS makes it smaller.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from agent.archive.chainfile import CHAIN, SEALS, Record, write_record
from agent.archive.offline import Trust, verify_copy
from agent.archive.sealkeys import SealKey
from agent.archive.seals import make_seal, seal_statement, to_pem
from agent.archive.statements import blob_statement, link_digest, statement_hash
from tests.bench.result import Result

_GOAL = 0.5
_RUNS = 2
_SEAL_EACH = 10_000


def run() -> Result:
    """Make the copy, prove it, hash it, compare."""
    links = int(os.environ.get("VERIFY_BENCH_LINKS", "100000"))
    with tempfile.TemporaryDirectory() as folder:
        size = _make(Path(folder), links)
        _hash(Path(folder))
        times = [(_prove(Path(folder), links), _hash(Path(folder))) for _ in range(_RUNS)]
    ours, peer = (links / min(seconds) for seconds in zip(*times, strict=True))
    return Result(
        bench="verify",
        work=f"{links} links, {size / 1e6:.0f} MB",
        unit="links/s",
        ours=round(ours),
        peer=round(peer),
        ratio=round(ours / peer, 2),
        goal="at least half the rate of sha256sum over the same files",
        holds=ours / peer >= _GOAL,
        details={"cores": os.cpu_count(), "seconds": [[round(one, 2) for one in pair] for pair in times]},
    )


def _make(folder: Path, links: int) -> int:
    chance, size, previous = random.Random(7), 0, b""
    key = SealKey.open_or_create(folder / "keys", is_first=True)
    noise = chance.randbytes(64 * 1024)
    began, sealed = datetime(2026, 1, 1, tzinfo=UTC), b""
    with (
        (folder / CHAIN).open("wb") as chain,
        (folder / "names").open("wb") as names,
        (folder / SEALS).open("wb") as seals,
    ):
        for sequence in range(1, links + 1):
            content = sequence.to_bytes(8, "big") + noise[: chance.randrange(2_000, 30_000)]
            name = hashlib.sha256(content).hexdigest()
            path = folder / "blobs" / name[:2] / name[2:4] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            names.write(str(path).encode() + b"\0")
            statement = blob_statement(
                sequence=sequence,
                name=name,
                salted=hashlib.sha256(name.encode()).digest(),
                media_type="message/rfc822",
                plain_size=len(content) - 32,
                stored_size=len(content),
                source="imap:sales",
                created=began + timedelta(seconds=sequence),
            )
            digest = link_digest(previous, statement_hash(statement))
            write_record(chain, None, Record(previous, digest, statement))
            previous, size = digest, size + len(content)
            if sequence % _SEAL_EACH == 0 or sequence == links:
                sealed = _seal(key, (sequence - 1) // _SEAL_EACH + 1, sequence, digest, sealed, seals)
    (folder / "key.pem").write_text(to_pem(key.public))
    return size


def _seal(key: SealKey, number: int, length: int, head: bytes, before: bytes, file: IO[bytes]) -> bytes:
    statement = seal_statement(
        number=number,
        length=length,
        head=head,
        at=datetime(2026, 2, 1, tzinfo=UTC) + timedelta(days=number),
        previous=before,
        installation=key.installation,
        key=key.fingerprint,
    )
    made = make_seal(statement, key.sign(statement))
    file.write(made.to_line() + b"\n")
    return made.digest


def _prove(folder: Path, links: int) -> float:
    started = time.perf_counter()
    found = verify_copy(folder, Trust(public_keys=[folder / "key.pem"]), blobs=folder / "blobs")
    seconds = time.perf_counter() - started
    assert found.holds, found
    assert found.links == links
    assert found.sealed is not None
    assert found.sealed.seal.length == links
    return seconds


def _hash(folder: Path) -> float:
    started = time.perf_counter()
    with (folder / "names").open("rb") as names:
        subprocess.run(["xargs", "-0", "sha256sum"], stdin=names, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started
