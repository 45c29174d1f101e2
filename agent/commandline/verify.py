"""`cardline verify`: the proof, of this installation, of a copy, or of what was handed out.

Exit codes: 0 all holds, 1 something does not (or the command could not run), 2 wrong usage, 3 of a manifest: nothing
is wrong, but not all of it is covered by a seal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from agent.archive.manifest import HandoutVerdict, verify_manifest
from agent.archive.offline import Trust, verify_copy
from agent.archive.sealbook import Witness
from agent.archive.verify import Verdict
from agent.commandline.base import console, fail, with_parts
from agent.errors import CardlineError

_SHOWN_FAULTS = 20
_NOT_ALL_PROVED = 3


def verify(
    copy: Annotated[
        Path | None, typer.Argument(help="A folder written by `cardline chain export`; without it this installation.")
    ] = None,
    blobs: Annotated[Path | None, typer.Option(help="Folder of the sealed blobs that belong to the copy.")] = None,
    public_key: Annotated[list[Path] | None, typer.Option(help="Public key, noted elsewhere; may be repeated.")] = None,
    seals: Annotated[
        list[Path] | None, typer.Option(help="Seals kept elsewhere: a file, a mail or a folder; may be repeated.")
    ] = None,
    tsa_ca: Annotated[Path | None, typer.Option(help="Certificates of timestamp authorities, PEM.")] = None,
    keys: Annotated[Path | None, typer.Option(help="Key folder, to prove plain bytes of a copy as well.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Prove the files of this manifest.json instead.")] = None,
    contents: Annotated[bool, typer.Option(help="Read every stored byte.")] = True,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read; 0: one a core.")] = 0,
) -> None:
    """Prove that nothing in the archive was changed, removed or slipped in, and up to which seal that is proved."""
    trust = Trust(public_keys=public_key or (), seals=seals or (), tsa_ca=tsa_ca)
    try:
        if manifest is not None:
            raise typer.Exit(_say_handout(verify_manifest(manifest, trust)))
        with _progress() as advance:
            if copy is not None:
                found = verify_copy(
                    copy, trust, blobs=blobs if contents else None, keys=keys, workers=workers, on_progress=advance
                )
            else:
                found = _verify_installation(trust, contents=contents, on_progress=advance)
    except CardlineError as error:
        fail(error)
    _say(found, own_key=copy is None and not public_key, came_with_copy=copy is not None and not public_key)
    if copy is not None and (blobs is None or not contents):
        console.print("Only the chain was proved: name the folder of sealed blobs with --blobs to prove them too.")
    raise typer.Exit(0 if found.holds else 1)


def _verify_installation(trust: Trust, *, contents: bool, on_progress: Callable[[int, float], None]) -> Verdict:
    from agent.archive.chain import load_seals
    from agent.archive.chain import verify as verify_chain
    from agent.archive.sealkeys import SealKey
    from agent.parts import Parts

    async def check(parts: Parts) -> Verdict:
        keys = SealKey.publics(parts.archive.keys.folder)
        book = await asyncio.to_thread(trust.open_book, keys, await load_seals(parts.store))
        return await verify_chain(parts.store, parts.archive, contents=contents, book=book, on_progress=on_progress)

    return with_parts(check)


@contextmanager
def _progress() -> Iterator[Callable[[int, float], None]]:
    """A bar for a person who watches; nothing where the output goes into a file."""
    screen = Console(stderr=True)
    columns = (TextColumn("{task.fields[links]} links"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=1.0, links=0)
        yield lambda links, part: bar.update(task, completed=part, links=links)


def _say(found: Verdict, *, own_key: bool, came_with_copy: bool) -> None:
    if found.first_bad is None:
        console.print(f"All {found.links} links hold.", highlight=False)
    else:
        console.print(f"{found.links} links hold. Link {found.first_bad} does not.", highlight=False)
    for fault in found.faults[:_SHOWN_FAULTS]:
        console.print(f"[red]Wrong:[/] {escape(str(fault))}.", highlight=False)
    if len(found.faults) > _SHOWN_FAULTS:
        console.print(f"… and {len(found.faults) - _SHOWN_FAULTS} more.", highlight=False)
    for problem in found.seal_problems:
        console.print(f"[red]Wrong:[/] {escape(problem)}.", highlight=False)
    for act in found.erased:
        console.print(
            f"Erased on {escape(act.at[:10])} by {escape(act.by)}: {act.count} blobs, {escape(act.reason)} "
            f"({escape(act.basis)}), recorded as link {act.sequence}.",
            highlight=False,
        )
    if found.length:
        _say_reach(found, own_key=own_key, came_with_copy=came_with_copy)


def _say_reach(found: Verdict, *, own_key: bool, came_with_copy: bool) -> None:
    """How far the proof reaches, and against whom."""
    if found.independent is not None:
        reached = min(found.links, found.independent.seal.length)
        console.print(
            f"Proved against everybody up to link {reached}: {escape(_words(found.independent))}.", highlight=False
        )
    else:
        console.print(
            "No seal that was kept elsewhere, or stamped, took part: whoever has the seal key could have made all "
            "of this anew. Give such seals with --seals, or --tsa-ca.",
            highlight=False,
        )
    if found.sealed is not None:
        reached = min(found.links, found.sealed.seal.length)
        whose = (
            "this machine's own key" if own_key else "the key that came with the copy" if came_with_copy else "your key"
        )
        console.print(f"Sealed by {whose} up to link {reached}: {escape(_words(found.sealed))}.", highlight=False)
    covered = found.independent.seal.length if found.independent else 0
    if found.links > covered:
        console.print(f"{found.links - covered} links after that are not proved yet.", highlight=False)


def _words(witness: Witness) -> str:
    seal = witness.seal
    words = [f"seal {seal.number} of {seal.at:%Y-%m-%d %H:%M} UTC"]
    if witness.outside:
        words.append("kept elsewhere")
    words += [f"seen by {stamp.authority} at {stamp.at:%Y-%m-%d %H:%M} UTC" for stamp in witness.stamps]
    return ", ".join(words)


def _say_handout(found: HandoutVerdict) -> int:
    for problem in (*found.faults[:_SHOWN_FAULTS], *found.seal_problems):
        console.print(f"[red]Wrong:[/] {escape(problem)}.", highlight=False)
    console.print(f"{found.proved} of {found.items} items are proved by seals.", highlight=False)
    if found.last_seal is not None:
        console.print(f"The last of them: {escape(_words(found.last_seal))}.", highlight=False)
    if found.independent < found.proved:
        console.print(
            f"{found.proved - found.independent} of them only by the installation's own key: give seals that were kept "
            "elsewhere with --seals, or --tsa-ca.",
            highlight=False,
        )
    if found.unproved:
        console.print(f"{found.unproved} items came after the last seal and are not proved.", highlight=False)
    return 1 if not found.holds else _NOT_ALL_PROVED if found.unproved else 0
