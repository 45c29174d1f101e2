"""The commands around the chain as a user types them, from an empty installation to a proof by hand."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.archive.blobs import open_archive
from agent.archive.chain import Chainer
from agent.settings import load_settings
from agent.store import blobs
from agent.store.engine import Store
from agent.store.postgres import running_url
from tests.unit.commands import Installation

DOCS = Path(__file__).parents[2] / "docs" / "evidence.md"
COMMANDS = [
    ("seal",),
    ("seal", "now"),
    ("seal", "list"),
    ("seal", "key"),
    ("seal", "renew-key"),
    ("chain",),
    ("chain", "export"),
    ("erase",),
    ("export",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_help(command: tuple[str, ...], tmp_path: Path) -> None:
    done = await Installation(tmp_path).run(*command, "--help")
    assert (done.code, done.err) == (0, "")
    assert "Usage" in done.out


async def _archive(installation: Installation, count: int) -> None:
    url = running_url(installation.data)
    assert url is not None
    store, archive = Store(url), open_archive(load_settings(installation.config).data_dir, "")
    made = archive.seal_all([f"mail {number}".encode() for number in range(count)], media_type="message/rfc822")
    async with store.begin() as connection:
        for one in made:
            await blobs.save_blob(connection, one, source="imap:anna")
    await Chainer(store).chain_batch()
    await store.close()


async def test_from_the_first_seal_to_the_proof_of_a_copy(tmp_path: Path) -> None:
    installation, copy, key = Installation(tmp_path), tmp_path / "copy", tmp_path / "key.pem"
    async with installation.service():
        await _archive(installation, 5)
        sealed = await installation.run("seal", "now")
        assert sealed.code == 0, sealed.err
        assert re.fullmatch(r"Seal \d vouches for 5 links\.\n|The last seal says it all already\.\n", sealed.out)
        assert (await installation.run("seal", "now")).out == "The last seal says it all already.\n"
        assert "nowhere else" in (await installation.run("seal", "list")).out
        key.write_text((await installation.run("seal", "key")).out)
        assert (await installation.run("verify")).out.startswith("All 5 links hold.\n")
        exported = await installation.run("chain", "export", str(copy))
        assert exported.out.startswith("5 links written to")
        again = await installation.run("chain", "export", str(copy))
        assert (again.code, "is not empty" in again.err) == (1, True)
        unknown = await installation.run("erase", "--client", "nobody", "--reason", "x", "--basis", "y", "--yes")
        assert (unknown.code, "There is no card nobody." in unknown.err) == (1, True)
        nobody = await installation.run("export", str(tmp_path / "out"), "--employee", "nobody")
        assert (nobody.code, "There is no employee nobody." in nobody.err) == (1, True)
    shutil.move(installation.data / "blobs", tmp_path / "blobs")
    shutil.rmtree(installation.data)
    outside = ("--public-key", str(key), "--seals", str(copy / "seals.jsonl"))  # as if it had been kept elsewhere
    proof = ("verify", str(copy), "--blobs", str(tmp_path / "blobs"), *outside)
    found = await installation.run(*proof)
    assert found.code == 0, found
    assert "Proved against everybody up to link 5: seal" in found.out
    assert not installation.data.exists()
    next(path for path in (tmp_path / "blobs").rglob("*") if path.is_file()).write_bytes(b"")
    broken = await installation.run(*proof)
    assert broken.code == 1
    assert re.search(r"Wrong: link \d \(mail of 20.* from imap:anna\): its stored bytes were changed\.", broken.out)
    if shutil.which("xxd") is not None:
        await _by_hand(copy)


async def _by_hand(copy: Path) -> None:
    """The lines of docs/evidence.md that recompute a link, word for word."""
    lines = DOCS.read_text().split("statement\n", 1)[1].split("# the signature", 1)[0]
    script = "\n".join(line.strip() for line in lines.splitlines() if line.startswith("    ")) + "\necho $2"
    done = await asyncio.to_thread(
        subprocess.run, ["bash", "-c", script], cwd=copy, capture_output=True, text=True, check=False
    )
    computed, stated = (line.split()[0] for line in done.stdout.splitlines())
    assert computed == stated
