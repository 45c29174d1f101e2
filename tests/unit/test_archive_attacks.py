"""An administrator with every right over database, disk and keys against the proof of a copy: what he does is found, or
lies past the last seal outside, and the proof says so."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.archive.chainfile import CHAIN, SEALS
from agent.archive.contents import CHANGED, MISSING, NOT_OPENED
from agent.archive.offline import verify_copy
from agent.archive.seals import read_seals
from agent.archive.verify import KEY_GONE
from agent.errors import CardlineError, Unreadable
from agent.store.engine import Store
from tests.postgres import PostgresForTests
from tests.unit.evidence_lab import Lab


@pytest.fixture
async def lab(postgres: PostgresForTests, tmp_path: Path) -> AsyncIterator[Lab]:
    """Eight links, sealed at 3 and 6, both seals outside."""
    store = Store(await postgres.new_database())
    lab = Lab.open(store, tmp_path)
    await lab.add(3)
    await lab.seal()
    await lab.add(3, media_type="audio/flac", source="siprec")
    await lab.seal()
    await lab.add(2)
    yield lab
    await store.close()


async def test_an_honest_archive(lab: Lab) -> None:
    found = await lab.prove()
    assert found.holds
    assert (found.links, found.length) == (8, 8)
    assert found.independent is not None
    assert found.independent.seal.number == 2
    assert found.independent.seal.length == 6


async def test_without_seals_from_outside_only_the_key_speaks(lab: Lab) -> None:
    found = await lab.prove(seals=False)
    assert found.holds
    assert found.sealed is not None
    assert (found.sealed.seal.length, found.independent) == (6, None)


async def test_the_last_seal_outside_speaks_for_those_before_it(lab: Lab) -> None:
    (lab.vault / "seal-1.json").unlink()
    found = await lab.prove()
    assert found.independent is not None
    assert found.independent.seal.number == 2


_ROWS = {
    "changed": ("UPDATE blob SET source = 'imap:boris' WHERE id = 2",),
    "dated back": ("UPDATE blob SET created_at = created_at - interval '1 day' WHERE id = 2",),
    "replaced": ("UPDATE blob SET name = repeat('0', 64) WHERE id = 2",),
    "deleted": ("DELETE FROM chain_link WHERE sequence = 2",),
    "reordered": (
        "UPDATE chain_link SET sequence = 99 WHERE sequence = 2",
        "UPDATE chain_link SET sequence = 2 WHERE sequence = 3",
        "UPDATE chain_link SET sequence = 3 WHERE sequence = 99",
    ),
}


@pytest.mark.parametrize("statements", _ROWS.values(), ids=_ROWS.keys())
async def test_rows_altered_under_the_chain(statements: tuple[str, ...], lab: Lab) -> None:
    await lab.execute(*statements)
    found = await lab.prove()
    assert not found.holds
    assert found.first_bad == 2


_ANEW = {
    "changed": ("UPDATE blob SET source = 'imap:boris' WHERE id = 2",),
    "deleted": ("DELETE FROM chain_link", "DELETE FROM blob WHERE id = 2"),
    "slipped in": (
        "DELETE FROM chain_link",
        "INSERT INTO blob (id, name, media_type, plain_size, stored_size, salted_digest, master_key, source)"
        " OVERRIDING SYSTEM VALUE VALUES (-1, repeat('0', 64), 'text/plain', 0, 32, '', 1, 'smtp')",
    ),
}


@pytest.mark.parametrize("statements", _ANEW.values(), ids=_ANEW.keys())
@pytest.mark.parametrize("sealed_anew", ["not", "with the true key", "with his own key"])
async def test_the_whole_chain_hashed_anew(statements: tuple[str, ...], sealed_anew: str, lab: Lab) -> None:
    await lab.execute(*statements)
    await lab.hash_anew()
    if sealed_anew != "not":
        await lab.execute("DELETE FROM seal_copy", "DELETE FROM seal")
        if sealed_anew == "with his own key":
            for file in lab.keys.glob("seal-*.key"):
                file.unlink()
        await lab.seal(leaves=False)
    found = await lab.prove()
    assert not found.holds
    if sealed_anew != "with his own key":
        assert found.first_bad == 1
        assert "hashed anew" in found.problem
    else:
        assert any("none of yours" in problem for problem in found.seal_problems)


async def test_hashed_anew_and_sealed_with_the_true_key_is_seen_only_from_outside(lab: Lab) -> None:
    await lab.execute("UPDATE blob SET source = 'imap:boris' WHERE id = 2", "DELETE FROM seal")
    await lab.hash_anew()
    await lab.seal(leaves=False)
    without = await lab.prove(seals=False)
    assert without.holds  # and says that nobody but the key speaks for it
    assert without.independent is None
    assert not (await lab.prove()).holds


async def test_the_tail_cut_off_within_the_seals(lab: Lab) -> None:
    await lab.execute("DELETE FROM chain_link WHERE sequence > 4", "DELETE FROM seal WHERE number = 2")
    found = await lab.prove()
    assert (found.links, found.first_bad) == (4, 5)
    assert "2 were cut off, or an older copy was put back" in found.problem


async def test_what_lies_past_the_last_seal_outside_can_be_cut_off_and_the_proof_says_where_it_ends(lab: Lab) -> None:
    await lab.seal(leaves=False)
    await lab.execute("DELETE FROM chain_link WHERE sequence > 6", "DELETE FROM seal WHERE number = 3")
    found = await lab.prove()
    assert found.holds
    assert found.independent is not None
    assert (found.links, found.independent.seal.length) == (6, 6)


async def test_an_older_copy_put_back(lab: Lab) -> None:
    older = await lab.export()
    await lab.add(4)
    await lab.seal()
    found = verify_copy(older, lab.trust(), blobs=lab.blobs, workers=1)
    assert found.first_bad == 9
    assert "4 were cut off" in found.problem


async def test_seals_taken_out_changed_or_doubled(lab: Lab) -> None:
    copy = await lab.export()
    lines = (copy / SEALS).read_bytes().splitlines(keepends=True)
    for bad, words in (
        (lines[1:], "seal 1 was removed"),
        ([lines[0], lines[0], lines[1]], "seal 2 was removed or is there twice"),
        ([lines[0].replace(b'\\"length\\":3', b'\\"length\\":2'), lines[1]], "the signature of seal 1 is not good"),
    ):
        (copy / SEALS).write_bytes(b"".join(bad))
        found = verify_copy(copy, lab.trust(seals=False))
        assert any(words in problem for problem in found.seal_problems), found.seal_problems


async def test_bytes_changed_removed_and_put_in_anothers_place(lab: Lab) -> None:
    files = sorted(path for path in lab.blobs.rglob("*") if path.is_file())
    good = files[0].read_bytes()
    for attack, problem in (
        (lambda: files[0].write_bytes(good[:-1]), CHANGED),
        (lambda: files[0].write_bytes(files[1].read_bytes()), CHANGED),
        (files[0].unlink, MISSING),
        (files[0].mkdir, CHANGED),
    ):
        attack()
        found = await lab.prove()
        assert (found.problem, len(found.faults)) == (problem, 1)
        assert " from " in found.faults[0].what
    assert found.faults[0].what.startswith(("mail of 20", "recording of 20"))


async def test_all_damaged_files_are_named_not_only_the_first(lab: Lab) -> None:
    for path in lab.blobs.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    found = await lab.prove()
    assert [fault.sequence for fault in found.faults] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (found.links, found.first_bad) == (0, 1)


async def test_keys_destroyed_or_exchanged_are_seen_where_keys_were_exported(lab: Lab) -> None:
    copy = await lab.export(with_keys=True)
    keys = lab.folder / "keys-copy"
    shutil.copytree(lab.keys, keys)
    assert verify_copy(copy, lab.trust(), blobs=lab.blobs, keys=keys, workers=1).holds
    await lab.execute(
        "UPDATE blob SET wrapped_key = (SELECT wrapped_key FROM blob WHERE id = 3) WHERE id = 2",
        "UPDATE blob SET wrapped_key = NULL WHERE id = 5",
    )
    found = verify_copy(await lab.export(with_keys=True), lab.trust(), blobs=lab.blobs, keys=keys, workers=1)
    assert [(one.sequence, one.problem) for one in found.faults] == [(2, NOT_OPENED), (5, KEY_GONE)]


async def test_a_copy_that_is_none(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="chain export"):
        verify_copy(tmp_path / "nowhere", lab.trust())
    with pytest.raises(CardlineError, match="There is no seal"):
        read_seals(lab.vault / "key.pem")


async def test_processes_find_what_one_process_finds(lab: Lab) -> None:
    await lab.add(1100)
    path = next(path for path in lab.blobs.rglob("*") if path.is_file())
    path.write_bytes(b"else")
    copy = await lab.export()
    alone, together = (verify_copy(copy, lab.trust(), blobs=lab.blobs, workers=count) for count in (1, 2))
    assert alone == together
    assert (len(alone.faults), alone.length) == (1, 1108)


def _mutate(data: bytes, how: str, place: float, random_bytes: bytes) -> bytes:
    at = min(int(place * len(data)), len(data) - 1)
    lines = data.splitlines(keepends=True)
    line = min(int(place * len(lines)), len(lines) - 1)
    match how:
        case "flip":
            return data[:at] + bytes([data[at] ^ (random_bytes[0] or 1)]) + data[at + 1 :]
        case "cut":
            return data[:at]
        case "insert":
            return data[:at] + random_bytes + data[at:]
        case "drop":
            return b"".join(lines[:line] + lines[line + 1 :])
        case "double":
            return b"".join([*lines[:line], lines[line], *lines[line:]])
        case "move":
            rest = lines[:line] + lines[line + 1 :]
            rest.insert(random.Random(random_bytes).randrange(len(lines)), lines[line])
            return b"".join(rest)
        case _:
            return b"".join([*lines[:line], random_bytes + b"\n", *lines[line:]])


_HOW = ("flip", "cut", "insert", "drop", "double", "move", "line")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    file=st.sampled_from([CHAIN, SEALS, "blob"]),
    how=st.sampled_from(_HOW),
    place=st.floats(0, 1, exclude_max=True),
    random_bytes=st.binary(min_size=1, max_size=80),
)
def _tamper(copy: Path, lab: Lab, *, file: str, how: str, place: float, random_bytes: bytes) -> None:
    """Whatever is done to a copy: it still says what it said, or it is found wrong; nothing else is raised."""
    path = next(one for one in lab.blobs.rglob("*") if one.is_file()) if file == "blob" else copy / file
    good = path.read_bytes()
    bad = _mutate(good, how, place, random_bytes)
    path.write_bytes(bad)
    try:
        found = verify_copy(copy, lab.trust(), blobs=lab.blobs, workers=1)
    except CardlineError:
        return
    finally:
        path.write_bytes(good)
    same = [line.rstrip(b"\r") for line in bad.split(b"\n")] == [line.rstrip(b"\r") for line in good.split(b"\n")]
    past_the_seals = file == CHAIN and bad.splitlines()[:6] == good.splitlines()[:6]
    if file == SEALS:
        assert found.holds or found.seal_problems
        assert found.independent is not None  # the vault's seals speak, whatever the copy's are
        assert found.links == 8
    elif not past_the_seals and not same:
        assert not found.holds
    elif found.independent is not None:
        assert found.independent.seal.length == 6


async def test_random_tampering(lab: Lab) -> None:
    copy = await lab.export()
    await asyncio.to_thread(_tamper, copy, lab)
