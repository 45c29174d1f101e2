"""The proof of a copy: an exported chain, a folder of sealed blobs, seals and a public key; no database, no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509 import Certificate

from agent.archive.chainfile import CHAIN, PUBLIC_KEY, SEALS, Record, read_records
from agent.archive.contents import ContentCheck
from agent.archive.keys import KeyRing
from agent.archive.sealbook import SealBook
from agent.archive.seals import Seal, read_public_keys, read_seals
from agent.archive.timestamps import read_roots
from agent.archive.verify import Proof, Verdict
from agent.errors import Unreadable

_BATCH = 512

Progress = Callable[[int, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What the reader brings along and believes, unlike all that came with the copy.

    ``public_keys`` and ``seals`` are files that were kept elsewhere, ``tsa_ca`` certificates of authorities.
    """

    public_keys: Sequence[Path] = ()
    seals: Sequence[Path] = ()
    tsa_ca: Path | None = None

    def book(self, folder: Path) -> SealBook:
        """The seals of the copy and those kept elsewhere. Without a key of one's own that of the copy is taken, which
        proves only that all was sealed by one hand."""
        files = self.public_keys or ([folder / PUBLIC_KEY] if (folder / PUBLIC_KEY).exists() else [])
        inside = folder / SEALS
        seals = read_seals(inside) if inside.exists() and inside.stat().st_size else []
        return self._fill([key for file in files for key in read_public_keys(file)], seals)

    def open_book(self, own: Sequence[Ed25519PublicKey], seals: Sequence[Seal]) -> SealBook:
        """The same for an installation, whose ``own`` keys count where the reader brings none."""
        return self._fill([key for file in self.public_keys for key in read_public_keys(file)] or own, seals)

    def _fill(self, keys: Sequence[Ed25519PublicKey], seals: Sequence[Seal]) -> SealBook:
        roots: list[Certificate] = read_roots(self.tsa_ca) if self.tsa_ca else []
        book = SealBook(keys, roots)
        book.add(seals, outside=False)
        for path in self.seals:
            book.add(read_seals(path), outside=True)
        return book


def verify_copy(
    folder: Path,
    trust: Trust,
    *,
    blobs: Path | None = None,
    keys: Path | None = None,
    workers: int = 0,
    on_progress: Progress = lambda links, part: None,
) -> Verdict:
    """Prove a copy. Blocks.

    ``blobs``: the folder of sealed blobs; without it only the chain is proved. ``keys``: a copy of the key folder, to
    prove plain bytes as well (of a chain exported with keys). ``on_progress`` hears how many links were walked, and
    which part of the whole that is.

    Raises:
        Unreadable: there is no chain to begin with.
        Misconfigured: a key or certificate file is of no use.
    """
    book = trust.book(folder)
    unwrap = KeyRing.open(keys).unwrap if keys is not None else None
    check = ContentCheck(blobs, workers=workers) if blobs is not None else None
    proof = Proof(book, contents=check, unwrap=unwrap)
    size = _size(folder / CHAIN)
    records, read = read_records(folder), 0
    try:
        while True:
            batch, problem = _batch(records)
            read += sum(len(record.statement) for record in batch) + 132 * len(batch)
            if not proof.feed(batch):
                break
            on_progress(proof.links, min(1.0, read / size))
            if problem:
                proof.break_off(problem)
            if problem or len(batch) < _BATCH:
                break
        return proof.finish()
    finally:
        if check is not None:
            check.close()


def _batch(records: Iterator[Record]) -> tuple[list[Record], str]:
    """The next links, and what is wrong with the line after them."""
    batch: list[Record] = []
    try:
        for record in islice(records, _BATCH):
            batch.append(record)  # what came before a broken line counts
    except Unreadable as error:
        return batch, error.what.rstrip(".")
    return batch, ""


def _size(path: Path) -> int:
    try:
        return max(1, path.stat().st_size)
    except OSError as error:
        remedy = "Name the folder that `cardline chain export` wrote."
        raise Unreadable(f"{path} cannot be read: {error.strerror}.", remedy=remedy) from None
