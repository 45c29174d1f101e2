"""Writes what a proof on another machine needs: the chain, its seals, the public key; and single pieces of the chain
for whoever is to be shown a few mails and nothing of the others.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from agent.archive.chain import batches, load_seals, record_of
from agent.archive.chainfile import CHAIN, KEYS, PROOF, PUBLIC_KEY, SEALS, Record, write_record
from agent.archive.keys import sync_folder
from agent.archive.sealkeys import SealKey
from agent.archive.seals import Seal, to_pem
from agent.archive.statements import canonical, statement_hash
from agent.errors import Misconfigured
from agent.store.engine import Store


def prepare_folder(folder: Path) -> None:
    """Make the folder to write to, private to this user.

    Raises:
        Misconfigured: there is something in it already.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        empty = next(folder.iterdir(), None) is None
    except OSError as error:
        remedy = "Name a folder that this user may write."
        raise Misconfigured(f"{folder} cannot be used: {error.strerror}.", remedy=remedy) from None
    if not empty:
        raise Misconfigured(f"{folder} is not empty.", remedy="Name a folder that is new or empty.")


async def export_chain(store: Store, keys: Path, folder: Path, *, with_keys: bool = False) -> int:
    """Write the whole chain with its seals; returns how many links. The sealed blobs are copied by other means.

    ``with_keys``: the wrapped data keys too, so that whoever has the master keys proves the plain bytes as well. Such
    a copy outlives an erasure.
    """
    await asyncio.to_thread(prepare_folder, folder)
    seals = await load_seals(store)  # before the chain, which then is at least as long as they say
    await asyncio.to_thread(write_seals, folder, seals, keys)
    count = 0
    with (
        _create(folder / CHAIN) as chain,
        _create(folder / KEYS if with_keys else Path(os.devnull)) as key_file,
    ):
        async for rows in batches(store):
            records = [record_of(row) for row in rows]
            await asyncio.to_thread(_write, chain, key_file, records)
            count += len(records)
        for file in (chain, key_file):
            await asyncio.to_thread(_sync, file)
    await asyncio.to_thread(sync_folder, folder)
    return count


def write_seals(folder: Path, seals: Iterable[Seal], keys: Path) -> None:
    """The seals with their tokens, and the public keys of this machine; the reader compares those with his own copy."""
    with _create(folder / SEALS) as file:
        for seal in seals:
            file.write(seal.to_line() + b"\n")
    publics = SealKey.publics(keys)
    if publics:
        with _create(folder / PUBLIC_KEY) as file:
            file.write("".join(to_pem(key) for key in publics).encode())


def _write(chain: IO[bytes], keys: IO[bytes], records: Iterable[Record]) -> None:
    for record in records:
        write_record(chain, keys, record)


def _create(path: Path) -> IO[bytes]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    return os.fdopen(descriptor, "wb")


def _sync(file: IO[bytes]) -> None:
    file.flush()
    if os.path.isfile(file.name):  # noqa: PTH113 - not the null device
        os.fsync(file.fileno())


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Links from one seal to the next: ``after`` links lead to ``head``, where the first seal vouches for them."""

    after: int
    head: bytes
    until: int


def stretches(seals: Sequence[Seal], wanted: set[int]) -> list[Stretch]:
    """The shortest pieces of the chain, from seal to seal, that hold all wanted positions; those after the last seal
    are in none of them."""
    found: list[Stretch] = []
    after, head = 0, b""
    for seal in seals:
        if any(after < one <= seal.length for one in wanted):
            found.append(Stretch(after=after, head=head, until=seal.length))
        after, head = seal.length, seal.head
    return found


async def write_proof(store: Store, folder: Path, pieces: Sequence[Stretch], wanted: set[int]) -> None:
    """Write the pieces: the wanted statements in words, of all others only the hash."""
    with _create(folder / PROOF) as file:
        for piece in pieces:
            file.write(canonical({"after": piece.after, "head": piece.head.hex(), "until": piece.until}) + b"\n")
            async for records in _records(store, piece):
                await asyncio.to_thread(file.writelines, _lines(records, wanted))
        await asyncio.to_thread(_sync, file)


def _lines(records: Iterable[tuple[int, Record]], wanted: set[int]) -> list[bytes]:
    return [
        (record.statement if sequence in wanted else statement_hash(record.statement).hex().encode()) + b"\n"
        for sequence, record in records
    ]


async def _records(store: Store, piece: Stretch) -> AsyncIterator[list[tuple[int, Record]]]:
    async for rows in batches(store, piece.after):
        yield [(row.sequence, record_of(row)) for row in rows if row.sequence <= piece.until]
        if rows[-1].sequence >= piece.until:
            return
