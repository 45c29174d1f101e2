"""What is handed out: files anybody opens, and a manifest that proves them to a stranger who sees nothing else."""

from __future__ import annotations

import hashlib
import json
import mailbox
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.archive.chain import Chainer
from agent.archive.handout import Form, hand_out
from agent.archive.manifest import HandoutVerdict, verify_manifest
from agent.errors import Misconfigured, Unreadable
from agent.intake import Intake
from agent.store import handouts
from agent.store.engine import Store
from tests.postgres import PostgresForTests
from tests.unit.evidence_lab import Lab
from tests.web_world import Builder, address, extension, phone, settings_for

_WHEN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_FIRST = b"From: petrova@client.example.org\r\nSubject: one\r\n\r\nHello\r\nFrom here on\r\n>From there\r\n"
_SECOND = b"From petrova\nSubject: two\n\nno end of line"
_SOUND = b"fLaC" + bytes(range(256)) * 600


class World:
    """A lab with a client's call and two mails, a stranger's mail, and a seal outside."""

    def __init__(self, lab: Lab, card: int, employee: int, ids: list[int]) -> None:
        self.lab, self.card, self.employee, self.ids = lab, card, employee, ids

    async def write(self, name: str, form: Form = "eml") -> Path:
        folder = self.lab.folder / name
        await hand_out(self.lab.store, self.lab.archive, self.ids, folder, form=form, subject=f"card {self.card}")
        return folder

    def prove(self, folder: Path, *, seals: bool = True) -> HandoutVerdict:
        return verify_manifest(folder / "manifest.json", self.lab.trust(seals=seals))


@pytest.fixture
async def world(postgres: PostgresForTests, tmp_path: Path) -> AsyncIterator[World]:
    store = Store(await postgres.new_database())
    lab = Lab.open(store, tmp_path)
    made = Builder(store, lab.archive, Intake(store, lab.archive, host="test"), settings_for(tmp_path / "data"))
    anna = await made.employee("Anna", extension("101"), address("anna@cardline.example.com"))
    card = await made.card("Petrova", phone("+74950000001"), address("petrova@client.example.org"))
    us, her = ("Anna", "anna@cardline.example.com"), ("", "petrova@client.example.org")
    await lab.add(3)
    await lab.seal()
    await lab.add(2)
    await made.mail(her, us, _WHEN, "one", "Hello", raw=_FIRST)
    await made.mail(("", "stranger@other.example.org"), us, _WHEN, "secret", "x", raw=b"Subject: secret\r\n\r\n")
    await made.mail(us, her, _WHEN, "two", "no end", raw=_SECOND)
    call = await made.call("+74950000001", "101", _WHEN)
    await made.recording(call, _WHEN, _SOUND, 10, said=[(0, 1.0, "grey paint")])
    await Chainer(store).chain_batch()
    await lab.seal()
    async with store.begin() as connection:
        ids = await handouts.list_interactions(connection, card_id=card)
    yield World(lab, card, anna, ids)
    await store.close()


async def test_mails_and_recordings_come_out_to_the_byte(world: World) -> None:
    folder = await world.write("out")
    files = {path.read_bytes() for path in folder.rglob("*.eml")}
    assert files == {_FIRST, _SECOND}
    assert [path.read_bytes() for path in folder.rglob("*.flac")] == [_SOUND]
    assert "grey paint" in next(folder.glob("transcripts/*")).read_text()
    found = world.prove(folder)
    assert found.holds
    assert (found.items, found.proved, found.independent, found.unproved) == (3, 3, 3, 0)


async def test_an_mbox_is_read_by_pythons_own_and_proved_to_the_byte(world: World) -> None:
    folder = await world.write("out", "mbox")
    assert [mail["subject"] for mail in mailbox.mbox(folder / "mails.mbox")] == ["one", None]
    found = world.prove(folder)
    assert (found.holds, found.proved) == (True, 3)


async def test_nothing_of_others_is_shown(world: World) -> None:
    folder = await world.write("out")
    shown = (folder / "proof.jsonl").read_text().splitlines()
    assert sum(line.startswith('{"created"') for line in shown) == 3
    assert all(len(line) == 64 for line in shown if not line.startswith("{"))
    assert json.loads(shown[0])["after"] == 3  # the stretch before the first seal concerns nobody here


async def test_an_employees_own(world: World) -> None:
    async with world.lab.store.begin() as connection:
        ids = await handouts.list_interactions(connection, employee_id=world.employee)
        assert len(ids) == 4
        none = await handouts.list_interactions(connection, employee_id=world.employee, until=_WHEN)
        assert none == []


async def test_without_seals_from_outside_it_says_so(world: World) -> None:
    found = world.prove(await world.write("out"), seals=False)
    assert (found.holds, found.proved, found.independent) == (True, 3, 0)


async def test_what_came_after_the_last_seal_is_not_proved(world: World) -> None:
    lab = world.lab
    await lab.add(1)
    await lab.execute(
        "INSERT INTO evidence (source, key, blob_id, received_at, state, interaction_id)"
        f" SELECT 'x', 'late', max(id), now(), 'read', {world.ids[0]} FROM blob"
    )
    found = world.prove(await world.write("out"))
    assert (found.holds, found.proved, found.unproved) == (True, 3, 1)


def _edit(folder: Path, **change: Any) -> None:
    path = folder / "manifest.json"
    fields = json.loads(path.read_text())
    fields["items"][0].update(change)
    path.write_text(json.dumps(fields))


async def test_what_was_altered_is_found(world: World) -> None:
    folder = await world.write("out")
    target = next(folder.rglob("*.eml"))
    good = target.read_bytes()
    target.write_bytes(good + b" ")
    assert world.prove(folder).faults == (f"{target.relative_to(folder)}: it was changed since it was handed out",)
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = next(one for one in manifest["items"] if one["file"] == str(target.relative_to(folder)))
    entry["sha256"] = hashlib.sha256(good + b" ").hexdigest()  # and the manifest with it
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (problem,) = world.prove(folder).faults
    assert "it is not what stands in the chain" in problem
    target.unlink()
    assert "it is missing" in world.prove(folder).faults[0]


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": 7},
        {"sequence": 1},
        {"sequence": "x"},
        {"sequence": []},
        {"salt": "00" * 32},
        {"salt": None},
        {"source": "imap:boris"},
        {"file": "../vault/key.pem"},
        {"file": "/etc/passwd"},
        {"file": "mails"},
        {"file": "\0"},
        {"file": 7},
        {"offset": -1, "length": 1},
        {"offset": "x", "length": 10**30},
    ],
)
async def test_a_manifest_that_lies(change: dict[str, Any], world: World) -> None:
    folder = await world.write("out")
    _edit(folder, **change)
    found = world.prove(folder)
    assert not found.holds
    assert len(found.faults) == 1


async def test_a_proof_that_lies(world: World) -> None:
    folder = await world.write("out")
    path = folder / "proof.jsonl"
    good = path.read_bytes()
    lines = good.splitlines(keepends=True)
    for bad in (
        b"",
        b"".join(lines[1:]),
        b"".join(lines[:-1]),
        b"".join([lines[0].replace(b'"after":3', b'"after":2'), *lines[1:]]),
        b"".join([lines[0], lines[2], lines[1], *lines[3:]]),
        b"".join([lines[0].replace(b'"until":9', b'"until":900000000000'), *lines[1:]]),
        good.replace(b"imap:sales", b"imap:boris"),
        b"[" * 100_000,
        b'{"after": "x"}\n',
    ):
        path.write_bytes(bad)
        assert not world.prove(folder).holds, bad[:200]
    path.write_bytes(good)
    assert world.prove(folder).holds


async def test_a_folder_that_is_not_empty_and_files_that_are_no_manifest(world: World, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(Misconfigured, match="not empty"):
        await world.write("full")
    for content in (b"", b"[]", b"{}", b"[" * 100_000):
        (tmp_path / "none.json").write_bytes(content)
        with pytest.raises(Unreadable):
            verify_manifest(tmp_path / "none.json", world.lab.trust())


async def test_a_blob_that_is_gone_is_told_and_the_rest_written(world: World) -> None:
    for path in world.lab.blobs.rglob("*"):
        if path.is_file() and path.stat().st_size > 100_000:
            path.unlink()
    folder = world.lab.folder / "out"
    done = await hand_out(world.lab.store, world.lab.archive, world.ids, folder, form="eml", subject="card 1")
    assert (done.mails, done.recordings, len(done.missing)) == (2, 0, 1)
    assert world.prove(folder).holds
