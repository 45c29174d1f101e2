"""A small archive with a chain and seals, for those who try to cheat it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.archive.blobs import Archive, open_archive
from agent.archive.chain import Chainer, chain_all
from agent.archive.exporting import export_chain
from agent.archive.notary import Notary
from agent.archive.offline import Trust, verify_copy
from agent.archive.sealkeys import SealKey
from agent.archive.seals import Seal, to_pem
from agent.archive.verify import Verdict
from agent.store import blobs
from agent.store.engine import Store


async def carry_nowhere(connection: AsyncConnection, number: int, targets: Sequence[str]) -> None:
    """Seals of these tests are carried by hand."""


@dataclass(slots=True)
class Lab:
    """An installation (`data`), and a place outside it (`vault`) with the public key and the seals that left."""

    store: Store
    folder: Path
    archive: Archive
    exports: int = 0

    @classmethod
    def open(cls, store: Store, folder: Path) -> Lab:
        lab = cls(store, folder, open_archive(folder / "data", ""))
        lab.vault.mkdir(exist_ok=True)
        return lab

    @property
    def vault(self) -> Path:
        return self.folder / "vault"

    @property
    def keys(self) -> Path:
        return self.folder / "data" / "keys"

    @property
    def blobs(self) -> Path:
        return self.folder / "data" / "blobs"

    async def add(self, count: int, *, media_type: str = "message/rfc822", source: str = "imap:anna") -> list[int]:
        """Archive and chain a few things."""
        contents = [f"{media_type} {number}".encode() for number in range(count)]
        made = self.archive.seal_all(contents, media_type=media_type)
        async with self.store.begin() as connection:
            ids = [await blobs.save_blob(connection, one, source=source) for one in made]
        async with self.store.begin() as connection:
            await chain_all(connection)
        return ids

    async def seal(self, *, leaves: bool = True) -> Seal:
        """Seal now; unless told otherwise a copy reaches the vault, and the public key with the first one."""
        made = await Notary(self.store, self.keys, targets=(), announce=carry_nowhere).seal()
        assert made is not None
        if leaves:
            (self.vault / f"seal-{made.number}.json").write_bytes(made.to_line())
            key = SealKey.open(self.keys)
            assert key is not None
            if not (self.vault / "key.pem").exists():
                (self.vault / "key.pem").write_text(to_pem(key.public))
        return made

    async def execute(self, *statements: str) -> None:
        """What an administrator does to the database."""
        async with self.store.begin() as connection:
            for statement in statements:
                await connection.execute(text(statement))

    async def hash_anew(self) -> None:
        """The whole chain made again over whatever the rows say now, as its owner can."""
        await self.execute("DELETE FROM chain_link", "UPDATE blob SET chained = false")
        await Chainer(self.store).chain_batch()

    async def export(self, *, with_keys: bool = False) -> Path:
        self.exports += 1
        target = self.folder / f"copy-{self.exports}"
        await export_chain(self.store, self.keys, target, with_keys=with_keys)
        return target

    def trust(self, *, seals: bool = True) -> Trust:
        """What the reader has from the vault."""
        return Trust(public_keys=[self.vault / "key.pem"], seals=sorted(self.vault.glob("seal-*")) if seals else ())

    async def prove(self, *, seals: bool = True) -> Verdict:
        """Export, and prove the copy with what lies in the vault."""
        return verify_copy(await self.export(), self.trust(seals=seals), blobs=self.blobs, workers=1)
