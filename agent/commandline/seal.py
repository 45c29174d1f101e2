"""`cardline seal …` and `cardline chain …`: seals made by hand, the key that makes them, the chain as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from agent.commandline.base import console, fail, in_database, read_settings, with_parts
from agent.errors import CardlineError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from agent.parts import Parts
    from agent.store.seals import SealCopy, StoredSeal

seal = typer.Typer(no_args_is_help=True, help="Seals of the archive's chain.")
chain = typer.Typer(no_args_is_help=True, help="The archive's chain.")


@seal.command("now")
def seal_now() -> None:
    """Seal everything that is archived by now, and have the seal carried to all places of [seal]."""

    async def make(parts: Parts) -> str:
        made = await parts.notary().seal()
        return f"Seal {made.number} vouches for {made.length} links." if made else "The last seal says it all already."

    console.print(with_parts(make), highlight=False)


@seal.command("list")
def seal_list() -> None:
    """The seals there are, and where copies of them lie."""
    from agent.store import seals

    async def collect(connection: AsyncConnection) -> list[tuple[StoredSeal, list[SealCopy]]]:
        return [(one, await seals.list_copies(connection, one.number)) for one in await seals.list_seals(connection)]

    table = Table(box=None, padding=(0, 2))
    for title in ("seal", "links", "made", "copies"):
        table.add_column(title)
    for one, copies in in_database(collect):
        words = ", ".join(f"{copy.target}: {'there' if copy.delivered else copy.problem or 'waits'}" for copy in copies)
        table.add_row(str(one.number), str(one.length), f"{one.sealed:%Y-%m-%d %H:%M}", escape(words or "nowhere else"))
    console.print(table, soft_wrap=False)


@seal.command("key")
def seal_key() -> None:
    """Print the public key of the seals, to be kept elsewhere: whoever proves the archive needs it."""
    from agent.archive.sealkeys import SealKey
    from agent.archive.seals import fingerprint, to_pem

    try:
        publics = SealKey.publics(read_settings().data_dir / "keys")
    except CardlineError as error:
        fail(error)
    if not publics:
        fail(CardlineError("Nothing was sealed yet.", remedy="Run `cardline seal now`."))
    for key in publics:
        console.print(to_pem(key), end="", highlight=False)
        console.print(f"# check code {fingerprint(key)[:8]}, fingerprint {fingerprint(key)}", highlight=False)


@seal.command("renew-key")
def seal_renew_key() -> None:
    """Sign with a new key from now on, where the old one was lost or stolen; proofs then need both public keys."""
    from agent.archive.sealkeys import SealKey

    try:
        key = SealKey.renew(read_settings().data_dir / "keys")
    except CardlineError as error:
        fail(error)
    console.print(f"A new key signs from now on; its check code is {key.check_code}. See `cardline seal key`.")


@chain.command("export")
def chain_export(
    folder: Path,
    keys: Annotated[
        bool, typer.Option(help="With the wrapped data keys, to prove plain bytes; such a copy outlives an erasure.")
    ] = False,
) -> None:
    """Write the chain, its seals and the public key into a new folder, for `cardline verify` on another machine."""
    from agent.archive.exporting import export_chain

    async def write(parts: Parts) -> int:
        return await export_chain(parts.store, parts.archive.keys.folder, folder, with_keys=keys)

    count = with_parts(write)
    console.print(
        f"{count} links written to {escape(str(folder))}. Copy the sealed blobs beside them.", highlight=False
    )
